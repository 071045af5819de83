package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/configs"
	"waypost/relay/auth"
	"waypost/relay/smtp"
)

// userProgram is what the commands about users share.
type userProgram struct {
	*program
	file         string // of --file; "" leaves it to the configuration
	json         bool
	passwordFile string
	scheme       string
}

func (p *program) userCommand() *cobra.Command {
	u := &userProgram{program: p}
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Keep the users that may log in",
		Long: `Keeps the file of the users that may log in: that of --file, else the one which
relay.users_file of the configuration names. The file is replaced in one step,
can be read by its owner alone, and keeps its comments. A waypost that serves
reads it again by itself.

A password is asked for on a terminal, is the first line of --password-file, or
else the first line of standard input.`,
		Args: onlySubcommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&u.file, "file", "", "the `file` of the users (default relay.users_file)")
	cmd.PersistentFlags().BoolVar(&u.json, "json", false, "one JSON object, and a line for each user of a list")
	cmd.AddCommand(u.addCommand(), u.passwdCommand(), u.listCommand(), u.removeCommand())
	return cmd
}

// passwordFlags are those of the commands that take a password.
func (u *userProgram) passwordFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&u.passwordFile, "password-file", "", "the `file` whose first line is the password")
	cmd.Flags().StringVar(&u.scheme, "scheme", "", "how the password is kept: argon2id, bcrypt, or scram-sha-256, for clients\nthat log in by SCRAM (default argon2id, or what the user has now)")
}

func (u *userProgram) addCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "add NAME",
		Short:   "Add a user",
		Long:    "Adds a user, and makes the file where there is none. The name must be new.",
		Example: "  waypost user add app@example.org\n  waypost user add app --password-file /run/secrets/app --file ./users",
		Args:    oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			return u.set(cmd, args[0], userAdded)
		},
	}
	u.passwordFlags(cmd)
	return cmd
}

func (u *userProgram) passwdCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "passwd NAME",
		Short:   "Give a user another password",
		Args:    oneName,
		Example: "  waypost user passwd app@example.org",
		RunE: func(cmd *cobra.Command, args []string) error {
			return u.set(cmd, args[0], userChanged)
		},
	}
	u.passwordFlags(cmd)
	return cmd
}

func (u *userProgram) removeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Short:   "Remove a user",
		Args:    oneName,
		Example: "  waypost user remove app@example.org",
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := u.usersFile()
			if err != nil {
				return err
			}
			err = auth.Edit(file, false, func(text string) (string, error) { return auth.Remove(text, args[0]) })
			return u.done(err, changedUser{Name: args[0], File: file, Done: userRemoved})
		},
	}
}

func (u *userProgram) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the users, and how their passwords are kept",
		Args:    noArguments,
		Example: "  waypost user list\n  waypost user list --json",
		RunE:    func(*cobra.Command, []string) error { return u.list() },
	}
}

// oneName wants the name of one user.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError("%q takes the name of one user\nrun \"%s --help\" to see what it takes", cmd.CommandPath(), cmd.CommandPath())
	}
	if err := auth.CheckName(args[0]); err != nil {
		return usageError("%v", err)
	}
	return nil
}

// usersFile is the file that is meant.
func (u *userProgram) usersFile() (string, error) {
	if u.file != "" {
		return u.file, nil
	}
	c, err := configs.LoadUnchecked(u.configFile, u.environ)
	if err != nil {
		return "", err
	}
	if c.Relay.UsersFile == "" {
		return "", usageError("relay.users_file is not configured; name the file with --file")
	}
	return c.Relay.UsersFile, nil
}

// What can be done to a user.
const (
	userAdded   = "added"
	userChanged = "changed"
	userRemoved = "removed"
)

// set gives a user a password; done says whether the user is new.
func (u *userProgram) set(cmd *cobra.Command, name, done string) error {
	add := done == userAdded
	scheme, err := u.chosenScheme()
	if err != nil {
		return err
	}
	file, err := u.usersFile()
	if err != nil {
		return err
	}
	// Before anybody is asked for a password in vain.
	users, err := readUsers(file, add)
	if err != nil {
		return userError(err)
	}
	switch present, ok := users.Scheme(name); {
	case ok && add:
		return userError(fmt.Errorf("%w: %q", auth.ErrExists, name))
	case !ok && !add:
		return userError(fmt.Errorf("%w: %q", auth.ErrUnknownUser, name))
	case scheme == "" && ok:
		scheme = present
	case scheme == "":
		scheme = auth.Argon2id
	}
	password, err := u.password(cmd)
	if err != nil {
		return err
	}
	hash, err := auth.Hash(scheme, password)
	if err != nil {
		return &codedError{exitData, err}
	}
	err = auth.Edit(file, add, func(text string) (string, error) { return auth.Set(text, name, hash, add) })
	return u.done(err, changedUser{Name: name, Scheme: string(scheme), File: file, Done: done})
}

func (u *userProgram) chosenScheme() (auth.Scheme, error) {
	var names []string
	for _, s := range auth.Schemes() {
		if string(s) == u.scheme || u.scheme == "" {
			return auth.Scheme(u.scheme), nil
		}
		names = append(names, string(s))
	}
	return "", usageError("--scheme does not take %q%s", u.scheme, meant("", u.scheme, names))
}

// readUsers reads a users file. One that does not exist is empty when it may be
// made.
func readUsers(file string, create bool) (*auth.Users, error) {
	text, err := os.ReadFile(file)
	if err != nil && !(create && errors.Is(err, fs.ErrNotExist)) {
		return nil, fmt.Errorf("read the users: %w", err)
	}
	users, err := auth.Parse(text)
	if err != nil {
		return nil, &codedError{exitData, fmt.Errorf("%s:%w", file, err)}
	}
	return users, nil
}

// listedUser is one user, as JSON.
type listedUser struct {
	Name string `json:"name"`
	// Scheme is how the password is kept.
	Scheme string `json:"scheme"`
}

func (u *userProgram) list() error {
	file, err := u.usersFile()
	if err != nil {
		return err
	}
	users, err := readUsers(file, false)
	if err != nil {
		return userError(err)
	}
	for _, name := range users.Names() {
		scheme, _ := users.Scheme(name)
		line := fmt.Sprintf("%-40s %s", smtp.Printable(name), scheme)
		if err := u.say(line, listedUser{name, string(scheme)}); err != nil {
			return err
		}
	}
	return nil
}

// changedUser is what was done to one user.
type changedUser struct {
	Name string `json:"name"`
	// Done is added, changed or removed.
	Done string `json:"done"`
	// Scheme is how the password is kept; left out of a user who was removed.
	Scheme string `json:"scheme,omitempty"`
	// File is the file of the users.
	File string `json:"file"`
}

// done says what was done to a user.
func (u *userProgram) done(err error, c changedUser) error {
	if err != nil {
		return userError(err)
	}
	what := c.Done
	if what == userChanged {
		what = "has a new password"
	}
	return u.say(smtp.Printable(c.Name)+" "+what, c)
}

// say prints a line for people, or what it is about as JSON.
func (u *userProgram) say(line string, v any) error {
	if u.json {
		text, err := terminal.JSON(v, "")
		if err != nil {
			return err
		}
		line = text
	}
	_, err := fmt.Fprintln(u.stdout, line)
	return outputError(err)
}

// userError finds the code for what kept a users file from being read or
// changed.
func userError(err error) error {
	switch {
	case errors.Is(err, auth.ErrExists), errors.Is(err, auth.ErrUnknownUser), errors.Is(err, fs.ErrNotExist):
		return &codedError{exitData, err}
	}
	return err
}
