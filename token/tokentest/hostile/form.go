package hostile

import (
	"encoding/base64"
	"fmt"
	"strings"

	"example.com/curfew/token"
)

// forms are tokens that fail before decoding, or in base64.
func (f *forge) forms() {
	good := f.good()
	parts := strings.Split(good, ".")
	header, payload, signature := parts[0], parts[1], parts[2]
	bad := func(raw, name string, args ...any) { f.add(token.ErrMalformed, raw, "form: "+name, args...) }

	f.add(token.ErrMissing, "", "form: nothing")
	bad(" ", "a space")
	bad(".", "a dot")
	bad("..", "two dots")
	bad("...", "three dots")
	bad(header, "one part")
	bad(header+"."+payload, "two parts")
	bad(good+"."+signature, "four parts")
	bad(good+"."+payload+"."+signature, "five parts")
	bad(good+".", "a dot behind")
	bad("."+good, "a dot in front")
	bad("."+payload+"."+signature, "no header")
	bad(header+".."+signature, "no payload")
	bad(header+"."+payload+".", "no signature")
	bad(strings.ReplaceAll(good, ".", "\u3002"), "ideographic full stops for dots")
	bad(strings.ReplaceAll(good, ".", ","), "commas for dots")
	bad(strings.ReplaceAll(good, ".", "%2E"), "percent-encoded dots")

	for name, text := range map[string]string{
		"space": " ", "tab": "\t", "LF": "\n", "CR": "\r", "CR LF": "\r\n", "NUL": "\x00",
		"byte order mark": "\ufeff", "zero-width space": "\u200b", "byte 0xff": "\xff", "plus": "+", "slash": "/",
		"equals sign": "=", "percent sign": "%", "tilde": "~", "quote": `"`, "comma": ",", "semicolon": ";",
	} {
		bad(text+good, "%s in front", name)
		bad(good+text, "%s behind", name)
		bad(header[:5]+text+header[5:]+"."+payload+"."+signature, "%s in the header", name)
		bad(header+"."+payload[:8]+text+payload[8:]+"."+signature, "%s in the payload", name)
		bad(header+"."+payload+"."+signature[:9]+text+signature[9:], "%s in the signature", name)
	}
	bad("Bearer "+good, "the scheme in front")
	bad(`"`+good+`"`, "in quotes")
	bad(good+","+good, "two tokens")
	bad(`{"protected":"`+header+`","payload":"`+payload+`","signature":"`+signature+`"}`, "JSON serialization")

	std := base64.StdEncoding.EncodeToString
	bad(std([]byte(f.header.String()))+"."+payload+"."+signature, "the header in padded standard base64")
	bad(header+"."+std([]byte(f.claims.with("x", `"~~~???~~~???"`).String()))+"."+signature, "the payload in standard base64")
	for i, part := range []string{"header", "payload", "signature"} {
		p := strings.Split(good, ".")
		p[i] += "A" // as many as leave one character over
		for len(p[i])%4 != 1 {
			p[i] += "A"
		}
		bad(strings.Join(p, "."), "one base64 character over in the %s", part)
	}
	bad(strayBits(f.withHeader(pad(f.header.String(), 1)), 0), "stray bits behind one byte of the header")
	bad(strayBits(f.withHeader(pad(f.header.String(), 2)), 0), "stray bits behind two bytes of the header")
	bad(strayBits(f.withClaims(pad(f.claims.String(), 1)), 1), "stray bits behind one byte of the payload")
	bad(strayBits(f.withClaims(pad(f.claims.String(), 2)), 1), "stray bits behind two bytes of the payload")
	bad(strayBits(good, 2), "stray bits behind the signature")

	bad(f.ofLength(token.MaxLength+1), "8 KiB and one byte, well signed")
	bad(f.ofLength(2*token.MaxLength), "16 KiB, well signed")
	bad(strings.Repeat("A", 1<<20), "1 MiB of one letter")
	bad(strings.Repeat(".", 1<<20), "1 MiB of dots")
	bad(header+"."+strings.Repeat("A", 1<<20)+"."+signature, "1 MiB of payload")
	bad(strings.Repeat(".", token.MaxLength), "8 KiB of dots")
	bad(strings.Repeat("A", token.MaxLength), "8 KiB of one letter")
	f.add(token.ErrBadSignature, header+"."+payload+"."+strings.Repeat("A", (token.MaxLength-len(header)-len(payload)-2)/4*4),
		"form: nearly 8 KiB, most of it signature")
}

// pad appends spaces to a document until its length is n modulo 3, so that its
// base64 has spare bits.
func pad(s string, n int) string {
	for len(s)%3 != n {
		s += " "
	}
	return s
}

// strayBits sets the lowest of the spare bits in the last character of a part. A
// lax decoder still decodes the same bytes.
func strayBits(raw string, part int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	parts := strings.Split(raw, ".")
	p := parts[part]
	if len(p)%4 == 0 {
		panic("tokentest: no bits to spare in part " + fmt.Sprint(part))
	}
	last := strings.IndexByte(alphabet, p[len(p)-1])
	parts[part] = p[:len(p)-1] + alphabet[last+1:last+2]
	return strings.Join(parts, ".")
}

// ofLength returns a token of n bytes with a valid signature and an unknown claim
// as padding. Base64 skips every fourth length, so the header may need a space.
func (f *forge) ofLength(n int) string {
	encoded := base64.RawURLEncoding.EncodedLen
	header := f.header.String()
	for {
		for fill := n * 3 / 4; fill > 0; fill-- {
			payload := f.claims.with("filler", quote(strings.Repeat("x", fill))).String()
			switch length := encoded(len(header)) + 1 + encoded(len(payload)) + 1 + encoded(64); {
			case length == n:
				return f.issuer.Sign(token.ES256, header, payload)
			case length < n:
				fill = 0
			}
		}
		header += " "
	}
}
