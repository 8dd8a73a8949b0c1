package account

import (
	"strings"
	"testing"
)

// No rules of composition: the refused passwords are those that attackers try first.
func TestGuessable(t *testing.T) {
	for _, password := range []string{
		"passwordpassword", "password1234", "Password1234", "P@ssw0rd1234", "p4$$w0rd!!!!", "letmein12345", "iloveyou1234", "welcome12345",
		"changeme1234", "football2026", "summer2026!!", "trustno1trustno1", "administrator", "adminadmin12", "Curfew123456", "curfewcurfew",
		"curfew-admin-1", "my curfew 2026", "the password", "unbelievable1", "alice2026!!!", "alicealicealice", "alice-miller-1", "alicemiller12",
		"Alice.Miller@example", "password for alice", "1q2w3e4r5t6y", "1qaz2wsx3edc", "qwertyuiop12", "qwertyuiopasdf", "abcdefghijkl",
		"lkjihgfedcba", "123456789012", "987654321098", "aaaaaaaaaaaa", "xyxyxyxyxyxy", "abcabcabcabc", "100010001000", "éééééééééééé",
		"            ", "000000000000", "ＰＡＳＳＷＯＲＤ１２３４", strings.Repeat("x", 1024), strings.Repeat("\x00", 12), "justinbieber", "alicealice\x00\x00",
	} {
		if !guessable(password, "Alice Miller", "alice.m@example.com") {
			t.Errorf("%.40q is accepted", password)
		}
	}
	for _, password := range []string{
		"correct horse battery staple", "correct horse battery 1", "correct horse battery", "a long enough password", "long enough a password",
		"twelve bytes or more", "a secret of hers", "something else entirely", "another password", "john-smith-1980", "malice in numbers",
		"VJ4QZ-XKPAT-D7M2N-LYB3C", "kq8#vL2!mP0z", "314159265358", "\xff\xfe\xfd\xfcxyzzyplugh", "correct\x00horse", "白い猫は窓辺で眠る毎日", "ночью кони бегут",
	} {
		if guessable(password, "Alice Miller", "alice.m@example.com") {
			t.Errorf("%q is refused", password)
		}
	}
}

// newPassword makes none that is refused.
func TestGeneratedPasswordsAreAccepted(t *testing.T) {
	for range 200 {
		if p := GeneratePassword(); guessable(p, "admin") {
			t.Fatalf("%q is refused", p)
		}
	}
}

// The check costs little, whatever is checked: it comes before any limit.
func BenchmarkGuessable(b *testing.B) {
	for name, password := range map[string]string{
		"words": "correct horse battery staple", "leet": strings.Repeat("4@8({[<369!1|0$57+%2", 51), "letters": strings.Repeat("alicecurfewb", 85),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				guessable(password, "Alice Miller", "alice.m@example.com")
			}
		})
	}
}
