package relay

import (
	"strings"

	"waypost/configs"
	"waypost/relay/alias"
	"waypost/relay/smtp"
)

// readAliases reads the aliases; the file is read again when it changes. Nil is
// none.
func (r *Relay) readAliases(c *configs.Config) (*alias.File, error) {
	name := c.Relay.AliasesFile
	if name == "" {
		return nil, nil
	}
	f, err := alias.Load(name, c.Hostname, r.reread("aliases", name))
	if err != nil {
		return nil, err
	}
	r.log.Info("aliases read", "file", name, "aliases", f.Table().Len())
	return f, nil
}

// reportTo is who receives a report to a sender: those behind an alias.
func (r *Relay) reportTo(sender smtp.Path) (to []smtp.Path) {
	a, ok := r.aliases.Load().Table().Expand(sender)
	if !ok {
		return []smtp.Path{sender}
	}
	for _, m := range a.Members {
		to = append(to, m.Path)
	}
	return to
}

// namesKnown reports whether all names of this host are aliases: there are some,
// and no route leads to others.
func namesKnown(c *configs.Config) bool {
	if c.Relay.AliasesFile == "" {
		return false
	}
	for _, r := range c.Routes {
		to := strings.ToLower(r.To[strings.LastIndexByte(r.To, '@')+1:])
		host := strings.ToLower(c.Hostname)
		if to == "*" || to == host || strings.HasPrefix(to, ".") && strings.HasSuffix("."+host, to) {
			return false
		}
	}
	return true
}
