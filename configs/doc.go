// Package configs is waypost's configuration: its types, its defaults, how it
// is loaded, and everything that can be wrong with it.
//
// A configuration is a TOML file in which every key is optional. Each key can
// also be set by an environment variable, which overrides the file; a secret is
// only ever named by a key that ends in "_file". waypost.toml beside this file
// is the annotated reference, README.md has one heading per key, and the folder
// examples has complete configurations.
//
// The steps, in order, of [Load]:
//
//  1. Every key gets its default, as in [Default].
//  2. The file is parsed. A syntax error ends the loading, because nothing
//     after it can be trusted.
//  3. The file's keys are set, then those of the environment. Unknown keys and
//     values of a wrong type are gathered with their places.
//  4. What depends on other keys is filled in.
//  5. The whole is validated, files that it names included.
//
// All problems are reported at once, as [Problems], each with file, row and
// column. What is suspicious but valid is left in Config.Warnings.
//
// The package refuses to guess: an unknown key, an unknown word and a feature
// that this version does not have are errors and are never ignored. It refuses
// to apply anything: it opens no socket, asks no DNS server, and creates no
// file. Only the packages cmd and relay import it.
package configs
