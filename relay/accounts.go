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
func accounts(c *configs.Config) map[string]*account.Account {
	all := map[string]*account.Account{}
	for i, r := range c.Routes {
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
		all[accountName(i)] = account.New(o)
	}
	return all
}

func accountName(route int) string { return fmt.Sprintf("route[%d]", route) }
