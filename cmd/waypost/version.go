package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (p *program) versionCommand() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return printJSON(p.stdout, built())
			}
			_, err := fmt.Fprintln(p.stdout, version())
			return outputError(err)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// builtFrom is what the build recorded of itself.
type builtFrom struct {
	// Version is the release, or "(devel)".
	Version string `json:"version"`
	// Commit is the commit; left out where it is not known.
	Commit string `json:"commit,omitempty"`
	// Changed says that there were changes since the commit.
	Changed bool `json:"changed"`
	// Go is the version of Go, and Platform what it was built for,
	// "linux/amd64".
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func built() builtFrom {
	b := builtFrom{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = cmp.Or(info.Main.Version, b.Version)
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Changed = s.Value == "true"
		}
	}
	return b
}

// version is that on one line.
func version() string {
	b, commit, changed := built(), "", ""
	if b.Commit != "" {
		commit = ", commit " + b.Commit[:min(len(b.Commit), 12)]
	}
	if b.Changed {
		changed = " with changes"
	}
	return fmt.Sprintf("waypost %s%s%s, %s, %s", b.Version, commit, changed, b.Go, b.Platform)
}
