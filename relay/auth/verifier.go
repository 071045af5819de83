package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Scheme is how a password is kept.
type Scheme string

// The schemes. The default for new passwords is Argon2id.
const (
	Argon2id    Scheme = "argon2id"
	Bcrypt      Scheme = "bcrypt"
	ScramSHA256 Scheme = "scram-sha-256"
)

// Schemes lists them all, the default first.
func Schemes() []Scheme { return []Scheme{Argon2id, Bcrypt, ScramSHA256} }

// Bounds on the work that one line of a users file can ask for, and on
// passwords.
const (
	maxMemory     = 256 << 10 // KiB, of argon2id
	maxTime       = 16        // passes of argon2id
	maxBcrypt     = 15        // cost of bcrypt
	minIterations = 4096      // RFC 7677 §4
	maxIterations = 2_000_000
	// MaxPassword is the greatest length of a password, in octets.
	MaxPassword = 1024
	// bcrypt does not look further than this.
	maxBcryptPassword = 72
)

// Costs of new hashes: OWASP's advice for argon2id, and a tenth of a second
// or less for the others.
const (
	newMemory, newTime = 19 << 10, 2
	newBcryptCost      = 11
	newIterations      = 100_000
	saltSize           = 16
	hashSize           = 32
)

// verifier checks passwords against one hash.
type verifier interface {
	// verify takes the same time whether the password is right or not.
	verify(password string) bool
	scheme() Scheme
}

func parseHash(s string) (verifier, error) {
	switch {
	case strings.HasPrefix(s, "$argon2id$"):
		return parseArgon2id(s)
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		return parseBcrypt(s)
	case strings.HasPrefix(s, "SCRAM-SHA-256$"):
		return parseScram(s)
	case strings.HasPrefix(s, "$argon2"), strings.HasPrefix(s, "$"), strings.HasPrefix(s, "{"), strings.HasPrefix(s, "SCRAM-"):
		return nil, errors.New("this kind of hash is not supported; it must begin with $argon2id$, $2b$ or SCRAM-SHA-256$")
	}
	return nil, errors.New("this is no hash; `waypost user passwd` makes one")
}

type argon2idHash struct {
	time, memory uint32
	threads      uint8
	salt, hash   []byte
}

func parseArgon2id(s string) (verifier, error) {
	h := argon2idHash{}
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return nil, errors.New("the argon2id hash is not like $argon2id$v=19$m=…,t=…,p=…$salt$hash")
	}
	var threads uint32
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &threads); n != 3 || err != nil ||
		fmt.Sprintf("m=%d,t=%d,p=%d", h.memory, h.time, threads) != parts[3] {
		return nil, errors.New("the argon2id hash has no parameters m=…,t=…,p=…")
	}
	if threads < 1 || threads > 16 || h.time < 1 || h.time > maxTime || h.memory < 8*threads || h.memory > maxMemory {
		return nil, fmt.Errorf("the argon2id hash has parameters out of bounds (m up to %d, t up to %d, p up to 16)", maxMemory, maxTime)
	}
	h.threads = uint8(threads)
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	h.hash, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.hash) < 16 || len(h.hash) > 64 {
		return nil, errors.New("the argon2id hash has a damaged salt or hash")
	}
	return h, nil
}

func (h argon2idHash) verify(password string) bool {
	got := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.hash)))
	return subtle.ConstantTimeCompare(got, h.hash) == 1
}

func (argon2idHash) scheme() Scheme { return Argon2id }

type bcryptHash []byte

func parseBcrypt(s string) (verifier, error) {
	cost, err := bcrypt.Cost([]byte(s))
	if err != nil || len(s) != 60 {
		return nil, errors.New("the bcrypt hash is damaged")
	}
	if cost > maxBcrypt {
		return nil, fmt.Errorf("the bcrypt hash has the cost %d, more than %d", cost, maxBcrypt)
	}
	return bcryptHash(s), nil
}

func (h bcryptHash) verify(password string) bool {
	// Two long passwords that begin alike must not be one, but the time must
	// be spent.
	cut := password[:min(len(password), maxBcryptPassword)]
	return bcrypt.CompareHashAndPassword(h, []byte(cut)) == nil && len(cut) == len(password)
}

func (bcryptHash) scheme() Scheme { return Bcrypt }

type scramHash struct{ scram.StoredCredentials }

func parseScram(s string) (verifier, error) {
	bad := errors.New("the SCRAM hash is not like SCRAM-SHA-256$iterations:salt$storedkey:serverkey")
	parts := strings.Split(s, "$")
	if len(parts) != 3 {
		return nil, bad
	}
	number, salt, ok1 := strings.Cut(parts[1], ":")
	stored, server, ok2 := strings.Cut(parts[2], ":")
	iterations, err := strconv.Atoi(number)
	if !ok1 || !ok2 || err != nil || strconv.Itoa(iterations) != number {
		return nil, bad
	}
	if iterations < minIterations || iterations > maxIterations {
		return nil, fmt.Errorf("the SCRAM hash has %d iterations, not from %d to %d", iterations, minIterations, maxIterations)
	}
	b64 := base64.StdEncoding.Strict()
	saltBytes, err1 := b64.DecodeString(salt)
	storedKey, err2 := b64.DecodeString(stored)
	serverKey, err3 := b64.DecodeString(server)
	if err1 != nil || err2 != nil || err3 != nil || len(saltBytes) < 8 || len(saltBytes) > 64 ||
		len(storedKey) != sha256.Size || len(serverKey) != sha256.Size {
		return nil, errors.New("the SCRAM hash has a damaged salt or key")
	}
	return scramHash{scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(saltBytes), Iters: iterations}, StoredKey: storedKey, ServerKey: serverKey,
	}}, nil
}

func (h scramHash) verify(password string) bool {
	stored, _ := scramKeys(password, h.Salt, h.Iters)
	return hmac.Equal(stored, h.StoredKey)
}

func (scramHash) scheme() Scheme { return ScramSHA256 }

// scramKeys derives what is stored of a password (RFC 5802 §3).
func scramKeys(password, salt string, iterations int) (stored, server []byte) {
	salted, err := pbkdf2.Key(sha256.New, prepare(password), []byte(salt), iterations, sha256.Size)
	if err != nil {
		panic(err) // only for a length that no hash can have
	}
	sign := func(text string) []byte {
		mac := hmac.New(sha256.New, salted)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	key := sha256.Sum256(sign("Client Key"))
	return key[:], sign("Server Key")
}

// prepare normalises a password as clients of SCRAM do (RFC 5802 §2.2). What
// the profile forbids stays as it is: such clients fail, others do not.
func prepare(password string) string {
	if prepared, err := stringprep.SASLprep.Prepare(password); err == nil {
		return prepared
	}
	return password
}

// CheckPassword says what is wrong with a new password for a scheme, if
// anything is.
func CheckPassword(scheme Scheme, password string) error {
	limit := MaxPassword
	if scheme == Bcrypt {
		limit = maxBcryptPassword
	}
	switch {
	case password == "":
		return errors.New("the password is empty")
	case len(password) > limit:
		return fmt.Errorf("the password has %d octets, and with %s there can be %d", len(password), scheme, limit)
	case strings.ContainsAny(password, "\x00\r\n"):
		return errors.New("the password has a line end or a NUL in it")
	}
	return nil
}

// Hash makes the hash of a new password, for a users file.
func Hash(scheme Scheme, password string) (string, error) {
	if err := CheckPassword(scheme, password); err != nil {
		return "", err
	}
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	raw, padded := base64.RawStdEncoding.EncodeToString, base64.StdEncoding.EncodeToString
	switch scheme {
	case Argon2id:
		hash := argon2.IDKey([]byte(password), salt, newTime, newMemory, 1, hashSize)
		return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=1$%s$%s", newMemory, newTime, raw(salt), raw(hash)), nil
	case Bcrypt:
		hash, err := bcrypt.GenerateFromPassword([]byte(password), newBcryptCost)
		return string(hash), err
	case ScramSHA256:
		stored, server := scramKeys(password, string(salt), newIterations)
		return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", newIterations, padded(salt), padded(stored), padded(server)), nil
	}
	return "", fmt.Errorf("%q is not one of the schemes %v", scheme, Schemes())
}
