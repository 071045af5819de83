package auth

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Hashes by others: crypt_blowfish's test vector for "U*U", and the keys of RFC 7677 §3,
// whose password is "pencil".
const (
	foreignBcrypt = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	rfc7677       = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)

func TestForeignHashes(t *testing.T) {
	users, err := Parse([]byte("# users\n\nb:" + foreignBcrypt + "\nuser:" + rfc7677 + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, password string
		want           bool
	}{
		{"b", "U*U", true}, {"b", "U*V", false}, {"b", "", false},
		{"user", "pencil", true}, {"user", "pencil ", false}, {"user", "U*U", false},
		{"nobody", "pencil", false}, {"", "", false},
	} {
		// Twice, because what was right once is remembered.
		for range 2 {
			if got := users.Verify(tc.name, tc.password); got != tc.want {
				t.Errorf("%s with %q: %t", tc.name, tc.password, got)
			}
		}
	}
	if users.SCRAM() {
		t.Error("SCRAM is possible for all, and b has bcrypt")
	}
}

func TestHashesOfOurOwn(t *testing.T) {
	for _, scheme := range Schemes() {
		for _, password := range []string{"secret", "Grüße 🐟", strings.Repeat("x", 72), "with:colon$and,comma"} {
			hash, err := Hash(scheme, password)
			if err != nil {
				t.Fatalf("%s: %v", scheme, err)
			}
			users, err := Parse([]byte("u:" + hash))
			if err != nil {
				t.Fatalf("%s: %v", hash, err)
			}
			if !users.Verify("u", password) || users.Verify("u", password+"x") || users.Verify("u", "") {
				t.Errorf("%s does not tell %q from others", hash, password)
			}
			if got, ok := users.Scheme("u"); !ok || got != scheme {
				t.Errorf("scheme %s, want %s", got, scheme)
			}
			if users.SCRAM() != (scheme == ScramSHA256) {
				t.Errorf("%s: SCRAM %t", scheme, users.SCRAM())
			}
		}
	}
}

func TestHashRefuses(t *testing.T) {
	for _, tc := range []struct {
		scheme   Scheme
		password string
	}{
		{Argon2id, ""}, {Argon2id, strings.Repeat("x", 1025)}, {Argon2id, "a\x00b"}, {Argon2id, "a\nb"},
		{Bcrypt, strings.Repeat("x", 73)}, {"md5", "secret"},
	} {
		if hash, err := Hash(tc.scheme, tc.password); err == nil {
			t.Errorf("%s of %.20q: %s", tc.scheme, tc.password, hash)
		}
	}
}

// 73 octets, NUL, a megabyte.
func TestPasswordsThatAreTooLongMatchNothing(t *testing.T) {
	users, err := Parse([]byte("b:" + foreignBcrypt))
	if err != nil {
		t.Fatal(err)
	}
	hash, err := Hash(Bcrypt, strings.Repeat("x", 72))
	if err != nil {
		t.Fatal(err)
	}
	long, err := Parse([]byte("u:" + hash))
	if err != nil {
		t.Fatal(err)
	}
	if long.Verify("u", strings.Repeat("x", 73)) || users.Verify("b", "U*U\x00") || users.Verify("b", strings.Repeat("x", 1<<20)) {
		t.Error("a password matches that is longer than the hash looks")
	}
}

func TestBadUsersFiles(t *testing.T) {
	argon := "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$" + strings.Repeat("A", 43)
	for _, tc := range []struct{ text, want string }{
		{"u", "1: \"u\" has no hash"},
		{"# c\n\nu:secret", "3: \"u\": this is no hash"},
		{":x", "1: the name is empty"},
		{"a b:" + rfc7677, "1: \"a b\" has a space"},
		{"u:" + rfc7677 + "\nu:" + rfc7677, "2: \"u\" stands in line 1 already"},
		{"u:$1$abc$def", "not supported"},
		{"u:{SSHA}abc", "not supported"},
		{"u:SCRAM-SHA-1$4096:a$b:c", "not supported"},
		{"u:" + strings.Replace(rfc7677, "4096", "4095", 1), "4095 iterations"},
		{"u:" + strings.Replace(rfc7677, "4096", "99999999", 1), "iterations"},
		{"u:" + strings.Replace(rfc7677, "4096", "-1", 1), "iterations"},
		{"u:" + rfc7677[:len(rfc7677)-4], "damaged"},
		{"u:" + strings.Replace(argon, "m=19456", "m=99999999", 1), "out of bounds"},
		{"u:" + strings.Replace(argon, "p=1", "p=300", 1), "out of bounds"},
		{"u:" + strings.Replace(argon, "t=2", "t=0", 1), "out of bounds"},
		{"u:" + strings.Replace(argon, "v=19", "v=16", 1), "is not like"},
		{"u:" + argon + "=", "damaged"},
		{"u:$2y$31$" + foreignBcrypt[7:], "cost 31"},
		{"u:" + foreignBcrypt[:59], "damaged"},
		{"\xff:" + rfc7677, "not UTF-8"},
	} {
		if _, err := Parse([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.text, err, tc.want)
		}
	}
	if _, err := Parse([]byte("u:" + argon)); err != nil {
		t.Errorf("the one that is right: %v", err)
	}
}

// the same work.
//
// The time that a name takes must not tell whether it exists. What is compared
// is the work, not the clock: a busy machine has no say in it.
func TestUnknownNamesAreWork(t *testing.T) {
	users, err := Parse([]byte("a:" + rfc7677 + "\nb:" + rfc7677))
	if err != nil {
		t.Fatal(err)
	}
	stand, ok := users.standIn("nobody").(scramHash)
	if !ok || stand.Iters != 4096 {
		t.Errorf("an unknown name is checked against %#v", users.standIn("nobody"))
	}
	empty, _ := Parse(nil)
	if _, ok := empty.standIn("nobody").(argon2idHash); !ok {
		t.Error("no work at all without users")
	}
	one, two := users.scramCredentials("nobody"), users.scramCredentials("nobody")
	known := users.scramCredentials("a")
	if one.Salt != two.Salt || one.Iters != known.Iters || len(one.Salt) != len(known.Salt) || one.Salt == users.scramCredentials("noone").Salt {
		t.Errorf("SCRAM tells names apart: %+v, %+v, known %+v", one.KeyFactors, two.KeyFactors, known.KeyFactors)
	}
}

// L-03: nobody else may read it.
func TestEdit(t *testing.T) {
	name := filepath.Join(t.TempDir(), "users")
	set := func(user, hash string, add bool) error {
		return Edit(name, add, func(text string) (string, error) { return Set(text, user, hash, add) })
	}
	if err := set("a", rfc7677, true); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("# first\na:"+rfc7677+"\n\n# last"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := set("b", foreignBcrypt, true); err != nil {
		t.Fatal(err)
	}
	if err := set("a", foreignBcrypt, true); !errors.Is(err, ErrExists) {
		t.Errorf("a is added twice: %v", err)
	}
	if err := set("a", foreignBcrypt, false); err != nil {
		t.Fatal(err)
	}
	if err := set("c", foreignBcrypt, false); !errors.Is(err, ErrUnknownUser) {
		t.Errorf("c has a password and does not exist: %v", err)
	}
	if err := set("c", "nonsense", true); err == nil {
		t.Error("nonsense is written")
	}
	remove := func(text string) (string, error) { return Remove(text, "b") }
	if err := Edit(name, false, remove); err != nil {
		t.Fatal(err)
	}
	if err := Edit(name, false, remove); !errors.Is(err, ErrUnknownUser) {
		t.Errorf("b is removed twice: %v", err)
	}
	got, err := os.ReadFile(name)
	if want := "# first\na:" + foreignBcrypt + "\n\n# last\n"; err != nil || string(got) != want {
		t.Errorf("%q, want %q (%v)", got, want, err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	if all, _ := filepath.Glob(filepath.Join(filepath.Dir(name), "*")); len(all) != 1 {
		t.Errorf("files are left behind: %v", all)
	}
	if err := Edit(name+"2", false, remove); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestEditFollowsALink(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "real"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	err := Edit(filepath.Join(dir, "link"), true, func(text string) (string, error) { return Set(text, "a", rfc7677, true) })
	if err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(filepath.Join(dir, "link")); err != nil || target != "real" {
		t.Errorf("the link has become %q, %v", target, err)
	}
}

func TestLoadFollowsTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "users")
	if _, err := Load(name, nil); err == nil {
		t.Error("a file that is not there is loaded")
	}
	if err := os.WriteFile(name, []byte("a:"+rfc7677), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := Load(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("b:"+rfc7677), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := users.Reload(); err != nil || users.Get().Names()[0] != "b" {
		t.Errorf("%v, %v", users.Get().Names(), err)
	}
	if err := os.WriteFile(name, []byte("b:nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := users.Reload(); err == nil || !strings.Contains(err.Error(), name+":1: ") || users.Get().Names()[0] != "b" {
		t.Errorf("%v, %v", users.Get().Names(), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("# c\nu:" + rfc7677 + "\nb:" + foreignBcrypt + "\n"))
	f.Add([]byte("u:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$" + strings.Repeat("A", 43)))
	f.Add([]byte("u:\nv\n:\n#:\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		users, err := Parse(text)
		if err != nil {
			return
		}
		for _, name := range users.Names() {
			if err := CheckName(name); err != nil {
				t.Errorf("%q: %v", name, err)
			}
			less, err := Remove(string(text), name)
			if err != nil {
				t.Fatalf("%q cannot be removed: %v", name, err)
			}
			rest, err := Parse([]byte(less))
			if err != nil || rest.Len() != users.Len()-1 {
				t.Fatalf("without %q: %v", name, err)
			}
		}
	})
}

// by address and by login.
func TestGuard(t *testing.T) {
	g, now := newGuard(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	bad, other, home := addr("192.0.2.1"), addr("192.0.2.2"), addr("198.51.100.1")
	g.succeeded(home, "owner", now)
	var last time.Duration
	for i := range maxFailures {
		if !g.admits(bad, "owner", now) {
			t.Fatalf("attempt %d is not tried", i+1)
		}
		delay := g.failed(bad, "owner", now)
		if delay < last || delay > lastDelay {
			t.Fatalf("delay %v after %v", delay, last)
		}
		last = delay
	}
	if last != lastDelay {
		t.Errorf("the delay has grown to %v", last)
	}
	if g.admits(bad, "someone", now) {
		t.Error("the address may try another login")
	}
	if g.admits(other, "owner", now) {
		t.Error("the login may be tried from everywhere")
	}
	if !g.admits(home, "owner", now) {
		t.Error("the owner is locked out at home")
	}
	if !g.admits(other, "someone", now) {
		t.Error("an innocent is locked out")
	}
	if !g.admits(bad, "someone", now.Add(2*window)) {
		t.Error("it is never forgotten")
	}
	g.failed(addr("2001:db8::1"), "x", now)
	if g.addresses.Count(neighbourhood(addr("2001:db8::2")), now) != 1 || g.addresses.Count(neighbourhood(addr("2001:db8:0:1::1")), now) != 0 {
		t.Error("neighbours of IPv6 are not counted together")
	}
}
