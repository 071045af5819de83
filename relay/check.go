package relay

import (
	"errors"
	"fmt"
	"net/netip"

	"waypost/configs"
	"waypost/relay/alias"
	"waypost/relay/auth"
	"waypost/relay/dkim"
	"waypost/relay/recipient"
)

// Check finds what is wrong with a configuration beyond what it says itself:
// with the files that it names, and with the host on which we are. Nothing is
// opened or listened on.
func Check(c *configs.Config) configs.Problems { return check(c, gateways(c)) }

func check(c *configs.Config, hidden []netip.Addr) (problems configs.Problems) {
	fail := func(key, format string, args ...any) {
		problems = append(problems, c.Problem(key, fmt.Sprintf(format, args...)))
	}
	if name := c.Relay.UsersFile; name != "" {
		if _, err := auth.Load(name, nil); err != nil {
			fail("relay.users_file", "%v", err)
		}
	}
	if name := c.Relay.AliasesFile; name != "" {
		problems = append(problems, checkAliases(c, name)...)
	}
	for i, k := range c.DKIM {
		if _, err := dkim.ReadKey(k.KeyFile); err != nil {
			fail(fmt.Sprintf("dkim[%d].key_file", i), "%v", err)
		}
	}
	if name := c.Relay.RecipientsFile; name != "" {
		if _, err := recipient.Load(name, nil); err != nil {
			fail("relay.recipients_file", "%v", err)
		}
	}
	for i, text := range c.Relay.Networks {
		network, err := configs.ParseNetwork(text)
		for _, addr := range hidden {
			// Of loopback and the like nobody is a gateway.
			if err == nil && network.Contains(addr) {
				fail(fmt.Sprintf("relay.networks[%d]", i), "%v has %v, the gateway of this container: strangers can seem to come from there, and would relay. Name the clients' own networks, or set trust_gateway where clients' addresses are not hidden", network, addr)
			}
		}
	}
	return problems
}

// checkAliases has one problem for each line that is wrong.
func checkAliases(c *configs.Config, name string) (problems configs.Problems) {
	_, err := alias.Load(name, c.Hostname, nil)
	if bad, ok := errors.AsType[*alias.BadFile](err); ok {
		for _, p := range bad.Problems {
			problems = append(problems, c.Problem("relay.aliases_file", p.String()))
		}
	} else if err != nil {
		problems = append(problems, c.Problem("relay.aliases_file", err.Error()))
	}
	return problems
}
