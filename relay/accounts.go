package relay

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"waypost/configs"
	"waypost/relay/account"
)

// accounts are what the routes log in with, and legs that do so on their own.
func accounts(c *configs.Config) map[string]*account.Account {
	all := map[string]*account.Account{}
	for i, r := range c.Routes {
		all[accountName(i, nil)] = newAccount(c, r)
		for j := range r.Via {
			if r.Via[j].OwnLogin() {
				all[accountName(i, &j)] = newAccount(c, r.At(j))
			}
		}
	}
	return all
}

func newAccount(c *configs.Config, r configs.Route) *account.Account {
	o := account.Options{
		Username: r.Username, Mechanism: strings.ToUpper(r.Auth), PasswordFile: r.PasswordFile,
		CertificateFile: r.ClientCertificate, KeyFile: r.ClientKey, Read: configs.ReadSecret,
	}
	if r.TokenURL != "" {
		name := sha256.Sum256([]byte(r.TokenURL + "\x00" + r.ClientID + "\x00" + r.Username))
		o.OAuth = &account.OAuth{
			TokenURL: r.TokenURL, ClientID: r.ClientID, ClientSecretFile: r.ClientSecretFile,
			RefreshTokenFile: r.RefreshTokenFile, Scope: r.Scope,
			StateFile: filepath.Join(c.DataDir, "tokens", hex.EncodeToString(name[:16])),
		}
	}
	return account.New(o)
}

// accountName is the key of a route, or of its leg.
func accountName(route int, leg *int) string {
	if leg == nil {
		return fmt.Sprintf("route[%d]", route)
	}
	return legName(route, *leg)
}

func legName(route, leg int) string { return fmt.Sprintf("route[%d].via[%d]", route, leg) }
