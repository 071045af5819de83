package configs

import "slices"

const (
	maxPaces = 100  // each has metrics of its own
	maxPlace = 1000 // connections to one site
)

// paces checks how fast mail may leave.
func (v *validation) paces() {
	all := v.config.Paces
	if len(all) > maxPaces {
		v.fail(index("pace", maxPaces), "there may be %d tables at most", maxPaces)
	}
	taken := -1 // the first that takes everything
	for i, p := range all {
		path := index("pace", i)
		if taken >= 0 {
			v.warn(path+".name", "is never reached, because %s takes everything", index("pace", taken))
		} else if len(p.To)+len(p.Hosts) == 0 {
			taken = i
			if !p.Each {
				v.warn(path+".each", "without it, all mail of this host shares the limits of %q", p.Name)
			}
		}
		v.paceName(path+".name", i)
		v.domainsBelow(path+".to", p.To)
		v.hosts(path+".hosts", p.Hosts)
		v.paceBounds(path, p)
		v.rates(path+".message_rate", p.MessageRate)
		v.rates(path+".recipient_rate", p.RecipientRate)
	}
}

func (v *validation) paceName(path string, i int) {
	name := v.config.Paces[i].Name
	switch first := slices.IndexFunc(v.config.Paces, func(p Pace) bool { return p.Name == name }); {
	case name == "":
		v.fail(path, "must be set")
	case !className.MatchString(name):
		v.fail(path, "%q is not a name of up to 32 small letters, digits and hyphens", name)
	case first < i:
		v.fail(path, "%q is the name of %s already", name, index("pace", first))
	}
}

func (v *validation) paceBounds(path string, p Pace) {
	v.within(path+".connections", p.Connections, 0, maxPlace)
	v.within(path+".min_connections", p.MinConnections, 1, maxPlace)
	if most := p.Connections; most > 0 && p.MinConnections > most {
		v.fail(path+".min_connections", "%d is more than connections, %d", p.MinConnections, most)
	}
	atLeast(v, path+".messages_per_connection", p.MessagesPerConnection, 1)
	atLeast(v, path+".recipients_per_message", p.RecipientsPerMessage, 0)
}

// rates checks what may be sent within a time.
func (v *validation) rates(path string, all []string) {
	for i, text := range all {
		switch amount, _, err := ParseRate(text); {
		case err != nil:
			v.fail(index(path, i), "%v", err)
		case amount == 0:
			v.fail(index(path, i), "must not be empty")
		}
	}
}
