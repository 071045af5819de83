package mtasts

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// suffix ends the names of the files.
const suffix = ".json"

// file is where a domain's policy is kept. A digest is always a file's name,
// however long the domain is.
func (s *Store) file(domain string) string {
	sum := sha256.Sum256([]byte(domain))
	return filepath.Join(s.o.Dir, hex.EncodeToString(sum[:16])+suffix)
}

// load reads what is on disk, and removes what is of no use.
func (s *Store) load(now time.Time) error {
	if s.o.Dir == "" {
		return nil
	}
	list, err := os.ReadDir(s.o.Dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		name := filepath.Join(s.o.Dir, e.Name())
		if !e.Type().IsRegular() {
			continue
		}
		p, err := s.read(name)
		if err != nil || !now.Before(p.Expires) || len(s.policies) >= maxPolicies {
			s.discard(name)
			continue
		}
		s.policies[p.Domain] = p
	}
	return nil
}

func (s *Store) read(name string) (*Policy, error) {
	if !strings.HasSuffix(name, suffix) {
		return nil, errors.New("left over from a crash")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	p := &Policy{}
	if err := json.Unmarshal(text, p); err != nil {
		return nil, err
	}
	// A policy that nobody promised must not come from a file either.
	if p.Domain != canonical(p.Domain) || s.file(p.Domain) != name || p.Expires.Sub(p.Fetched) > maxAge ||
		p.Mode != Enforce && p.Mode != Testing && p.Mode != None {
		return nil, errors.New("not a policy")
	}
	return p, nil
}

// keep remembers a policy, also on disk. The caller holds the lock.
func (s *Store) keep(p *Policy) {
	if s.policies[p.Domain] == nil && len(s.policies) >= maxPolicies {
		s.evict()
	}
	s.policies[p.Domain] = p
	if s.o.Dir == "" {
		return
	}
	if err := s.write(p); err != nil {
		s.o.Log.Error("MTA-STS policy not kept on disk", "domain", p.Domain, "error", err.Error())
	}
}

// evict makes room: the policy that would end first goes.
func (s *Store) evict() {
	var first *Policy
	for _, p := range s.policies {
		if first == nil || p.Expires.Before(first.Expires) {
			first = p
		}
	}
	if first != nil {
		s.forget(first.Domain)
	}
}

// forget drops a policy. The caller holds the lock.
func (s *Store) forget(domain string) {
	delete(s.policies, domain)
	if s.o.Dir != "" {
		s.discard(s.file(domain))
	}
}

func (s *Store) discard(name string) {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.o.Log.Warn("MTA-STS policy not removed from disk", "error", err.Error())
	}
}

// write makes a file whole before it gets its name.
func (s *Store) write(p *Policy) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.Mkdir(s.o.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.CreateTemp(s.o.Dir, "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.file(p.Domain))
	}
	if err != nil {
		s.discard(f.Name())
	}
	return err
}
