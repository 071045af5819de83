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

// accounts are what the routes log in with.
func (r *Relay) accounts() map[string]*account.Account {
	all := map[string]*account.Account{}
	for i, c := range r.config.Routes {
		o := account.Options{
			Username: c.Username, Mechanism: strings.ToUpper(c.Auth), PasswordFile: c.PasswordFile,
			CertificateFile: c.ClientCertificate, KeyFile: c.ClientKey, Read: configs.ReadSecret,
		}
		if c.TokenURL != "" {
			name := sha256.Sum256([]byte(c.TokenURL + "\x00" + c.ClientID + "\x00" + c.Username))
			o.OAuth = &account.OAuth{
				TokenURL: c.TokenURL, ClientID: c.ClientID, ClientSecretFile: c.ClientSecretFile,
				RefreshTokenFile: c.RefreshTokenFile, Scope: c.Scope,
				StateFile: filepath.Join(r.config.DataDir, "tokens", hex.EncodeToString(name[:16])),
			}
		}
		all[accountName(i)] = account.New(o)
	}
	return all
}

func accountName(route int) string { return fmt.Sprintf("route[%d]", route) }
