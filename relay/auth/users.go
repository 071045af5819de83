package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/xdg-go/scram"

	"waypost/relay/watch"
)

// maxFile is the greatest size of a users file, in octets.
const maxFile = 16 << 20

// Users are those who may log in. They do not change; see [Load].
type Users struct {
	byName map[string]*user
	names  []string // sorted
	// secret makes up what is asked of users that do not exist, and marks
	// passwords that were right before.
	secret [32]byte
	// allScram says that every user has a SCRAM hash.
	allScram bool
	// working bounds how many passwords are checked at once: each takes a
	// processor, and argon2id memory as well.
	working chan struct{}
}

type user struct {
	hash verifier
	row  int
	// proven is a mark of the last password that was right. An application
	// that logs in for each message costs one slow hash, not one a message.
	proven atomic.Pointer[[32]byte]
}

// Load returns the users of a file, which is read again when it changes.
// report is as for [watch.New].
func Load(name string, report func(error)) (*watch.Value[*Users], error) {
	return watch.New(func() (*Users, error) {
		text, err := watch.ReadFile(name, maxFile)
		if err != nil {
			return nil, fmt.Errorf("read the users: %w", err)
		}
		users, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("read the users: %s:%w", name, err)
		}
		return users, nil
	}, report, name)
}

// Parse reads a users file. An error begins with the row that is wrong.
func Parse(text []byte) (*Users, error) {
	u := &Users{byName: map[string]*user{}, allScram: true, working: make(chan struct{}, runtime.GOMAXPROCS(0))}
	rand.Read(u.secret[:]) // never fails
	row := 0
	for line := range strings.Lines(string(text)) {
		row++
		name, hash, ok := splitLine(line)
		if !ok {
			continue
		}
		if err := u.add(row, name, hash); err != nil {
			return nil, fmt.Errorf("%d: %w", row, err)
		}
	}
	u.names = slices.Sorted(maps.Keys(u.byName))
	u.allScram = u.allScram && len(u.names) > 0
	return u, nil
}

// splitLine cuts a line; ok is false where it has no user.
func splitLine(line string) (name, hash string, ok bool) {
	line = strings.TrimRight(line, "\r\n")
	if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
		return "", "", false
	}
	name, hash, _ = strings.Cut(line, ":")
	return name, strings.TrimRight(hash, " \t"), true
}

func (u *Users) add(row int, name, hash string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if other, ok := u.byName[name]; ok {
		return fmt.Errorf("%q stands in line %d already", name, other.row)
	}
	if hash == "" {
		return fmt.Errorf("%q has no hash: a line is name:hash", name)
	}
	v, err := parseHash(hash)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	u.byName[name] = &user{hash: v, row: row}
	u.allScram = u.allScram && v.scheme() == ScramSHA256
	return nil
}

// CheckName says what is wrong with the name of a user, if anything is.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > 255:
		return errors.New("the name has more than 255 octets")
	case !utf8.ValidString(name):
		return errors.New("the name is not UTF-8")
	case strings.HasPrefix(name, "#"):
		return fmt.Errorf("%q begins with #", name)
	case strings.Contains(name, ":"):
		return fmt.Errorf("%q has a colon in it", name)
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		return fmt.Errorf("%q has a space or a control character in it", name)
	}
	return nil
}

// Len returns the number of users.
func (u *Users) Len() int { return len(u.names) }

// Names returns all names, sorted.
func (u *Users) Names() []string { return slices.Clone(u.names) }

// Scheme returns how a user's password is kept.
func (u *Users) Scheme(name string) (Scheme, bool) {
	if user, ok := u.byName[name]; ok {
		return user.hash.scheme(), true
	}
	return "", false
}

// Verify reports whether there is a user with that name and password. It takes
// as long for names that do not exist as for others.
func (u *Users) Verify(name, password string) bool {
	if len(password) > MaxPassword || strings.Contains(password, "\x00") {
		password = "" // which is nobody's
	}
	known, ok := u.byName[name]
	if !ok {
		u.work(u.standIn(name), password)
		return false
	}
	mark := u.mark(known, password)
	if proven := known.proven.Load(); proven != nil && hmac.Equal(proven[:], mark[:]) {
		return true
	}
	if !u.work(known.hash, password) || password == "" {
		return false
	}
	known.proven.Store(&mark)
	return true
}

func (u *Users) work(v verifier, password string) bool {
	u.working <- struct{}{}
	defer func() { <-u.working }()
	return v.verify(password)
}

// mark is what is remembered of a password that was right. Without the secret,
// which is never on disk, it says nothing.
func (u *Users) mark(of *user, password string) (mark [32]byte) {
	mac := hmac.New(sha256.New, u.secret[:])
	binary.Write(mac, binary.BigEndian, int64(of.row))
	mac.Write([]byte(password))
	mac.Sum(mark[:0])
	return mark
}

// defaultStandIn is for a file without users. It is the hash of no password.
var defaultStandIn = argon2idHash{time: newTime, memory: newMemory, threads: 1, salt: make([]byte, saltSize), hash: make([]byte, hashSize)}

// standIn returns a hash for a name that does not exist: that of some other
// user, and for one name always that of the same.
func (u *Users) standIn(name string) verifier {
	if len(u.names) == 0 {
		return defaultStandIn
	}
	sum := u.derive("stand-in", name)
	return u.byName[u.names[binary.BigEndian.Uint64(sum)%uint64(len(u.names))]].hash
}

func (u *Users) derive(use, name string) []byte {
	mac := hmac.New(sha256.New, u.secret[:])
	mac.Write([]byte(use + "\x00" + name))
	return mac.Sum(nil)
}

// SCRAM reports whether every user can log in by SCRAM-SHA-256.
func (u *Users) SCRAM() bool { return u.allScram }

// scramCredentials returns what SCRAM needs of a user. For one that does not
// exist it is made up, and the same each time: nothing tells the two apart.
func (u *Users) scramCredentials(name string) scram.StoredCredentials {
	if known, ok := u.byName[name]; ok {
		if h, ok := known.hash.(scramHash); ok {
			return h.StoredCredentials
		}
	}
	made := scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(u.derive("salt", name)[:saltSize]), Iters: newIterations},
		StoredKey:  u.derive("stored", name), ServerKey: u.derive("server", name),
	}
	if h, ok := u.standIn(name).(scramHash); ok {
		made.Iters, made.Salt = h.Iters, string(u.derive("salt", name)[:min(len(h.Salt), 32)])
	}
	return made
}
