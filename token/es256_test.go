package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// Whatever one of the two methods signs the other verifies, and what one refuses
// the other refuses.
func TestES256AgreesWithGolangJWT(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	theirs := jwt.SigningMethodES256
	lengths := map[int]int{} // of the DER that a signature becomes
	for i := range 2000 {    // a leading zero comes once in 128
		text := strings.Repeat("x", i)
		mine, err := es256{}.Sign(text, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := theirs.Verify(text, mine, &key.PublicKey); err != nil {
			t.Fatalf("golang-jwt refuses %x: %v", mine, err)
		}
		other, err := theirs.Sign(text, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := (es256{}).Verify(text, other, &key.PublicKey); err != nil {
			t.Fatalf("%x is refused: %v", other, err)
		}
		if err := (es256{}).Verify(text+"x", other, &key.PublicKey); !errors.Is(err, jwt.ErrECDSAVerification) {
			t.Fatalf("another text: %v", err)
		}
		lengths[len(appendInteger(appendInteger(nil, other[:32]), other[32:]))]++
	}
	if len(lengths) < 4 {
		t.Errorf("the lengths tried were %v: too few to say anything", lengths)
	}
}

func TestES256RefusesWhatIsNoSignature(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, err := es256{}.Sign("text", key)
	if err != nil {
		t.Fatal(err)
	}
	order := elliptic.P256().Params().N
	half := func(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }
	r, s := new(big.Int).SetBytes(good[:32]), new(big.Int).SetBytes(good[32:])
	join := func(a, b []byte) []byte { return append(append([]byte{}, a...), b...) }
	zero, most := make([]byte, 32), []byte(strings.Repeat("\xff", 32))
	for name, row := range map[string]struct {
		signature []byte
		good      bool
	}{
		"good":                 {good, true},
		"n − s":                {join(good[:32], half(new(big.Int).Sub(order, s))), true},
		"n − r":                {join(half(new(big.Int).Sub(order, r)), good[32:]), false},
		"r of zero":            {join(zero, good[32:]), false},
		"s of zero":            {join(good[:32], zero), false},
		"all zero":             {join(zero, zero), false},
		"r of n":               {join(half(order), good[32:]), false},
		"s of n":               {join(good[:32], half(order)), false},
		"the greatest numbers": {join(most, most), false},
		"nothing":              {nil, false},
		"63 bytes":             {good[:63], false},
		"65 bytes":             {join(good, []byte{0}), false},
		"swapped":              {join(good[32:], good[:32]), false},
		"two":                  {join(good, good), false},
	} {
		err := es256{}.Verify("text", row.signature, &key.PublicKey)
		theirs := jwt.SigningMethodES256.Verify("text", row.signature, &key.PublicKey)
		if (err == nil) != row.good || (theirs == nil) != row.good {
			t.Errorf("%s: %v, golang-jwt %v; good should be %v", name, err, theirs, row.good)
		}
		if !row.good && !errors.Is(err, jwt.ErrECDSAVerification) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, wrong := range []any{nil, key, "key", key.PublicKey} {
		if err := (es256{}).Verify("text", good, wrong); !errors.Is(err, jwt.ErrInvalidKeyType) {
			t.Errorf("with a %T: %v", wrong, err)
		}
	}
	if _, err := (es256{}).Sign("text", &key.PublicKey); !errors.Is(err, jwt.ErrInvalidKeyType) {
		t.Errorf("signing with a public key: %v", err)
	}
}

// signer is a key that gives whatever it likes for a signature.
type signer struct {
	der []byte
	err error
}

func (signer) Public() crypto.PublicKey { return nil }
func (s signer) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return s.der, s.err
}

func TestES256SignersThatReturnSomethingElse(t *testing.T) {
	encode := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	type pair struct{ R, S *big.Int }
	one, big33 := big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 256)
	good := encode(pair{one, one})
	for name, der := range map[string][]byte{
		"nothing":           nil,
		"one byte":          {0x30},
		"no sequence":       append([]byte{0x31}, good[1:]...),
		"cut short":         good[:len(good)-1],
		"something behind":  append(append([]byte{}, good...), 0),
		"one number":        encode(struct{ R *big.Int }{one}),
		"three numbers":     encode(struct{ A, B, C *big.Int }{one, one, one}),
		"negative":          encode(pair{big.NewInt(-1), one}),
		"33 bytes":          encode(pair{one, big33}),
		"an empty integer":  {0x30, 5, 2, 0, 2, 1, 1},
		"no integer":        {0x30, 6, 4, 1, 1, 2, 1, 1},
		"a length too long": {0x30, 6, 2, 9, 1, 2, 1, 1},
		"raw r and s":       []byte(strings.Repeat("\x30", 64)),
	} {
		if sig, err := (es256{}).Sign("text", signer{der: der}); !errors.Is(err, errNotSignature) {
			t.Errorf("%s: %x %v", name, sig, err)
		}
	}
	broken := errors.New("the token was pulled out")
	if _, err := (es256{}).Sign("text", signer{err: broken}); !errors.Is(err, broken) {
		t.Errorf("a signer that fails: %v", err)
	}
	sig, err := es256{}.Sign("text", signer{der: good})
	if want := strings.Repeat("\x00", 31) + "\x01"; err != nil || string(sig) != want+want {
		t.Errorf("1 and 1: %x %v", sig, err)
	}
}

func TestES256DoesNotAllocateMuch(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 400)
	digest := sha256.Sum256([]byte(text))
	bare := testing.AllocsPerRun(20, func() {
		if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
			t.Error(err)
		}
	})
	whole := testing.AllocsPerRun(20, func() {
		if _, err := (es256{}).Sign(text, key); err != nil {
			t.Error(err)
		}
	})
	if whole > bare+4 {
		t.Errorf("signing allocates %.0f times, the bare signature %.0f", whole, bare)
	}
}
