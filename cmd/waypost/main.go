// Command waypost is a store-and-forward mail relay.
//
// This package is the command line: one file for each subcommand, its flags,
// and what it prints. The service is put together by package relay, and the
// queue commands ask the running service through package control. Nothing is
// decided here.
//
// Exit codes follow sysexits:
//
//	 0  done
//	 1  stopped at once, by a second signal
//	64  the command line is wrong
//	65  the data is wrong: no such queue ID, a damaged message or queue, a bad
//	    archive
//	69  no waypost is running with that data directory
//	74  reading or writing failed, the queue's storage included
//	75  something that may work later
//	77  no permission
//	78  the configuration is wrong, the data directory is in use, or an address
//	    cannot be listened on
//
// The steps, in order: parse the command line, load the configuration if the
// subcommand has a use for it, do the work, print the error if there is one,
// turn it into a code.
package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(calledAs(os.Args), os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// program is what every subcommand knows of the world.
type program struct {
	stdout, stderr io.Writer
	environ        []string
	configFile     string // of --config; "" leaves it to WAYPOST_CONFIG
}

// run is the whole program but for the end of the process.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	p := &program{stdout: stdout, stderr: stderr, environ: environ}
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	p.printError(err)
	return exitCode(err)
}

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "waypost",
		Short: "A store-and-forward mail relay",
		Long: `waypost takes mail over SMTP, keeps it safe in a queue on disk, delivers it to
where it belongs, tries again for days, and tells the sender when it gives up.

It needs no configuration: "waypost serve" takes mail on 127.0.0.1:2525 from
this host alone. "waypost sink" is a place to send it to.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          onlySubcommands,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().VarP((*fileFlag)(&p.configFile), "config", "c",
		"read the configuration from this `file` (default $WAYPOST_CONFIG, else none)")
	root.AddCommand(
		p.serveCommand(),
		p.checkCommand(),
		p.queueCommand(),
		p.traceCommand(),
		p.topCommand(),
		p.debugCommand(),
		p.sendmailCommand(),
		p.userCommand(),
		p.dkimCommand(),
		p.healthCommand(),
		p.explainCommand(),
		p.reloadCommand(),
		p.sinkCommand(),
		p.benchCommand(),
		p.versionCommand(),
		p.manCommand(root),
	)
	root.SetHelpCommand(helpCommand(root))
	return root
}

// helpCommand is cobra's, but it knows an error when there is one.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return onlySubcommands(cmd, rest)
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}
