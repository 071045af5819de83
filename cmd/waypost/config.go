package main

import (
	"fmt"

	"waypost/configs"
	"waypost/relay/smtp"
)

// config loads the configuration that --config or WAYPOST_CONFIG names, or the
// defaults.
func (p *program) config() (*configs.Config, error) {
	c, err := configs.Load(p.configFile, p.environ)
	if err != nil && exitCode(err) == exitTemporary {
		return nil, &codedError{exitConfig, err} // a file that is not there, mostly
	}
	return c, err
}

// printWarnings says what is suspicious in a configuration.
func (p *program) printWarnings(warnings configs.Problems) {
	for _, w := range warnings {
		_, _ = fmt.Fprintln(p.stderr, "warning: "+smtp.Printable(w.String()))
	}
}
