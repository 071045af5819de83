package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// OAuth says how access tokens are had: by a refresh token where there is one
// (RFC 6749 §6), else by the client's own credentials (§4.4).
type OAuth struct {
	// TokenURL is the provider's token endpoint.
	TokenURL string
	// ClientID is who we are to the provider; ClientSecretFile proves it and
	// may be empty.
	ClientID, ClientSecretFile string
	// RefreshTokenFile holds the refresh token; empty where there is none.
	RefreshTokenFile string
	// Scope is what the token is to be for; empty leaves it to the provider.
	Scope string
	// StateFile is where a refresh token goes that replaces the first one;
	// empty keeps it in memory only.
	StateFile string
}

const (
	// early is how long before its end a token is not used any more.
	early = time.Minute
	// fetchTimeout bounds one request.
	fetchTimeout = 30 * time.Second
	// again is how long after a failure the provider is not asked.
	again = 10 * time.Second
	// defaultLife is that of a token whose provider does not say.
	defaultLife = 10 * time.Minute
	// maxAnswer bounds what a provider may answer.
	maxAnswer = 1 << 20
)

func (a *Account) accessToken(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.token != "" && now.Before(a.expires) {
		return a.token, nil
	}
	if a.failed != nil && now.Before(a.retry) {
		return "", a.failed
	}
	answer, err := a.fetch(ctx)
	if err != nil {
		if ctx.Err() == nil {
			a.failed, a.retry = err, now.Add(again)
		}
		return "", err
	}
	life := time.Duration(answer.ExpiresIn) * time.Second
	if life <= 0 {
		life = defaultLife
	}
	a.failed, a.token, a.expires = nil, answer.AccessToken, now.Add(max(life-early, life/2))
	return a.token, nil
}

// answer is what a token endpoint says (RFC 6749 §5).
type answer struct {
	AccessToken  string  `json:"access_token"`
	RefreshToken string  `json:"refresh_token"`
	ExpiresIn    seconds `json:"expires_in"`
	Error        string  `json:"error"`
	Description  string  `json:"error_description"`
}

// seconds is a number, which some providers put in quotes.
type seconds int64

func (s *seconds) UnmarshalJSON(b []byte) error {
	var n json.Number
	if err := json.Unmarshal([]byte(strings.Trim(string(b), `"`)), &n); err != nil {
		return err
	}
	f, err := n.Float64()
	*s = seconds(f)
	return err
}

func (a *Account) fetch(ctx context.Context) (answer, error) {
	o := a.o.OAuth
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {o.ClientID}}
	if o.Scope != "" {
		form.Set("scope", o.Scope)
	}
	var original string
	var err error
	if o.RefreshTokenFile != "" {
		if original, err = a.o.Read(o.RefreshTokenFile); err != nil {
			return answer{}, err
		}
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", o.replacement(original))
	}
	if o.ClientSecretFile != "" {
		secret, err := a.o.Read(o.ClientSecretFile)
		if err != nil {
			return answer{}, err
		}
		form.Set("client_secret", secret)
	}
	got, err := a.post(ctx, form)
	if err == nil && original != "" && got.RefreshToken != "" && got.RefreshToken != form.Get("refresh_token") {
		err = o.replace(original, got.RefreshToken)
	}
	return got, err
}

// post asks the token endpoint.
func (a *Account) post(ctx context.Context, form url.Values) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.o.OAuth.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, fmt.Errorf("ask for a token: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	response, err := a.o.Client.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("ask for a token: %w", err)
	}
	defer response.Body.Close()
	var got answer
	err = json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&got)
	switch {
	case got.Error != "":
		return answer{}, fmt.Errorf("ask for a token: %s answered %d %q: %.200q", a.o.OAuth.TokenURL, response.StatusCode, got.Error, got.Description)
	case response.StatusCode != http.StatusOK:
		return answer{}, fmt.Errorf("ask for a token: %s answered %d", a.o.OAuth.TokenURL, response.StatusCode)
	case err != nil:
		return answer{}, fmt.Errorf("ask for a token: the answer is no JSON: %w", err)
	case got.AccessToken == "" || strings.ContainsFunc(got.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		return answer{}, errors.New("ask for a token: there is none in the answer")
	}
	return got, nil
}

// replacement returns the newest refresh token that replaced the original one,
// or the original. A new original, which somebody put there, wins.
func (o *OAuth) replacement(original string) string {
	if o.StateFile == "" {
		return original
	}
	state, err := os.ReadFile(o.StateFile)
	if err != nil {
		return original
	}
	sum, token, ok := strings.Cut(strings.TrimSpace(string(state)), " ")
	if !ok || sum != digest(original) {
		return original
	}
	return token
}

// replace keeps a refresh token. The file is replaced as a whole, and on disk
// before it counts.
func (o *OAuth) replace(original, token string) error {
	if o.StateFile == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(o.StateFile), 0o700); err != nil {
		return fmt.Errorf("keep the new refresh token: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(o.StateFile), ".token-*") // mode 0600
	if err != nil {
		return fmt.Errorf("keep the new refresh token: %w", err)
	}
	_, err = f.WriteString(digest(original) + " " + token + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), o.StateFile)
	}
	if err != nil {
		return fmt.Errorf("keep the new refresh token: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
