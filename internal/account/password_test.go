package account_test

import (
	"strings"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
)

// Every byte of a password counts, whatever it is, up to the last that is allowed.
func TestPasswords(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		long := strings.Repeat("kq8#vL2!mP0z", 100)
		for _, tt := range []struct {
			what, password string
			ok             bool
		}{
			{"none", "", false},
			{"1 character", "x", false},
			{"11 characters", long[:11], false},
			{"12 characters", long[:12], true},
			{"13 characters", long[:13], true},
			{"12 bytes in 6 characters", "éàüöñç", false},
			{"11 characters in 22 bytes", "éàüöñçïêôäè", false},
			{"12 characters in 24 bytes", "éàüöñçïêôäèù", true},
			{"72 bytes", long[:72], true},
			{"73 bytes", long[:73], true},
			{"1023 characters", long[:1023], true},
			{"1024 characters", long[:1024], true},
			{"1025 characters", long[:1025], false},
			{"NUL at the start", "\x00" + long[:11], true},
			{"NUL within", "kq8#vL\x002!mP0z", true},
			{"all NUL", strings.Repeat("\x00", 12), false},
			{"invalid UTF-8", "\xff\xfe\xfd" + long[:9], true},
			{"spaces around", "  kq8#vL2!  ", true},
		} {
			name := tt.what
			u, err := n.CreateUser(t.Context(), cli, account.UserChange{Name: &name, Password: &tt.password})
			if !tt.ok {
				invalid(t, tt.what, err, "password")
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", tt.what, err)
				continue
			}
			if err := n.signIn(name, tt.password, "192.0.2.1"); err != nil {
				t.Errorf("%s: signing in: %v", tt.what, err)
			}
			last := len(tt.password) - 1
			for what, wrong := range map[string]string{
				"without its last byte": tt.password[:last],
				"with another last one": tt.password[:last] + "~",
				"with one more":         tt.password + "x",
			} {
				is(t, tt.what+" "+what, n.signIn(name, wrong, "192.0.2.2"), account.ErrBadCredentials)
			}
			w.pass(window)
			if u.PasswordHash == "" || strings.Contains(u.PasswordHash, tt.password) {
				t.Errorf("%s: kept as %q", tt.what, u.PasswordHash)
			}
		}
		n.noSecrets(good)
	})
}

func TestPasswordsAreSalted(t *testing.T) {
	a, b := account.HashOf(good), account.HashOf(good)
	if a == b {
		t.Fatal("one password, one hash")
	}
	const owasp = "$argon2id$v=19$m=19456,t=2,p=1$"
	if !strings.HasPrefix(a, owasp) {
		t.Fatalf("the hash does not begin with %s", owasp)
	}
	if !account.ReadableHash(a) {
		t.Fatal("cannot read its own hash")
	}
}

// What stands in the database is not believed to be small, nor to be a hash.
func TestStoredHashesThatAreRefused(t *testing.T) {
	const salt, sum = "c2FsdHNhbHRzYWx0", "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
	form := func(head string) string { return head + "$" + salt + "$" + sum }
	if !account.ReadableHash(form("$argon2id$v=19$m=19456,t=2,p=1")) {
		t.Fatal("the good one is refused, so the others prove nothing")
	}
	for what, hash := range map[string]string{
		"empty":               "",
		"another algorithm":   form("$argon2i$v=19$m=19456,t=2,p=1"),
		"bcrypt":              "$2b$12$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuuabcdefghij",
		"another version":     form("$argon2id$v=16$m=19456,t=2,p=1"),
		"no passes":           form("$argon2id$v=19$m=19456,t=0,p=1"),
		"33 passes":           form("$argon2id$v=19$m=19456,t=33,p=1"),
		"no threads":          form("$argon2id$v=19$m=19456,t=2,p=0"),
		"17 threads":          form("$argon2id$v=19$m=19456,t=2,p=17"),
		"memory of 7 KiB":     form("$argon2id$v=19$m=7,t=2,p=1"),
		"more than a gibi":    form("$argon2id$v=19$m=1048577,t=2,p=1"),
		"4 TiB":               form("$argon2id$v=19$m=4294967295,t=2,p=1"),
		"more than uint32":    form("$argon2id$v=19$m=4294967297,t=2,p=1"),
		"negative":            form("$argon2id$v=19$m=-1,t=2,p=1"),
		"something after":     form("$argon2id$v=19$m=19456,t=2,p=1,x=1"),
		"leading zero":        form("$argon2id$v=19$m=019456,t=2,p=1"),
		"one part too many":   form("$argon2id$v=19$m=19456,t=2,p=1") + "$",
		"something before":    "x" + form("$argon2id$v=19$m=19456,t=2,p=1"),
		"salt not in base64":  "$argon2id$v=19$m=19456,t=2,p=1$!$" + sum,
		"salt of 3 bytes":     "$argon2id$v=19$m=19456,t=2,p=1$c2Fs$" + sum,
		"empty sum":           "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$",
		"sum of 3 bytes":      "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$c2Fs",
		"sum of 1 KiB":        "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + strings.Repeat("QUFB", 342),
		"clear text":          good,
		"clear text in parts": "$a$b$c$d$e",
	} {
		if account.ReadableHash(hash) {
			t.Errorf("%s: %q is taken for a hash", what, hash)
		}
	}
}

func TestHashesAreRenewed(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		before := w.with(account.Config{HashMemoryKiB: 2 * cheap})
		u := before.add("alice", store.UserEdit)
		n := w.node()
		is(t, "wrong password", n.signIn("alice", "wrong horse battery", "192.0.2.1"), account.ErrBadCredentials)
		if same, err := n.store.User(t.Context(), u.ID); err != nil || same.PasswordHash != u.PasswordHash {
			t.Fatalf("a wrong password has changed something, or %v", err)
		}
		noErr(t, n.signIn("alice", good, "192.0.2.1"))
		renewed, err := n.store.User(t.Context(), u.ID)
		noErr(t, err)
		if !strings.HasPrefix(renewed.PasswordHash, "$argon2id$v=19$m=64,t=2,p=1$") {
			t.Errorf("the hash is %.32s…", renewed.PasswordHash)
		}
		if renewed.Name != u.Name || len(renewed.Permissions) != 1 {
			t.Errorf("more than the hash has changed: %+v", renewed)
		}
		noErr(t, n.signIn("alice", good, "192.0.2.1"))
		again, err := n.store.User(t.Context(), u.ID)
		noErr(t, err)
		if again.PasswordHash != renewed.PasswordHash {
			t.Error("renewed once more, for nothing")
		}
	})
}

func TestMostHashes(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		what       string
		processors int
		memory     uint64
		want       int
	}{
		{"one processor", 1, 16 * gib, 1},
		{"two processors: one is left to others", 2, 16 * gib, 1},
		{"eight processors", 8, 16 * gib, 7},
		{"64 processors in 1 GiB: a quarter of it", 64, gib, 13},
		{"no memory to speak of", 8, 1 << 20, 1},
		{"nothing known", 0, 0, 1},
		{"no limit", 8, 1<<63 - 1, 7},
	} {
		if got := account.MostHashes(tt.processors, tt.memory, 19<<10); got != tt.want {
			t.Errorf("%s: %d at a time, want %d", tt.what, got, tt.want)
		}
	}
}
