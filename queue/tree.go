package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// checkTree looks at the pages that lead to all others: branches, and the list
// of free pages. They are few, so this takes no time at start. After it bbolt
// cannot go in circles, and does not take a page that is in use for a free one.
// What is wrong within a leaf is found when it is read.
func (f *pageFile) checkTree() error {
	w := treeWalk{file: f, seen: newPageSet(f.meta.pages)}
	if err := w.buckets(); err != nil {
		return err
	}
	return w.free()
}

// pageSet is a set of page numbers.
type pageSet []uint64

func newPageSet(pages uint64) pageSet { return make(pageSet, pages/64+1) }

// add reports whether the page was not in the set, and adds it.
func (s pageSet) add(id uint64) bool {
	was := s.has(id)
	s[id/64] |= 1 << (id % 64)
	return !was
}

func (s pageSet) has(id uint64) bool { return s[id/64]&(1<<(id%64)) != 0 }

// treeWalk visits the pages of every bucket.
type treeWalk struct {
	file *pageFile
	seen pageSet
	// leaf, when it is set, is given each leaf with the name of its bucket;
	// without it leaves are counted as seen and not read. damaged, when it is
	// set, is told what is wrong with a page, and the walk goes on.
	leaf    func(bucket string, elements []element) error
	damaged func(bucket string, page uint64, err error)
	only    string   // the one bucket to visit; empty is all
	names   []string // of the buckets that were visited
}

// fault says what is wrong, if somebody wants to hear of it and have the rest.
func (w *treeWalk) fault(bucket string, page uint64, err error) error {
	if err == nil || w.damaged == nil || !errors.Is(err, ErrDamaged) {
		return err
	}
	w.damaged(bucket, page, err)
	return nil
}

// buckets visits the root, whose leaves have buckets for elements, and each of
// these.
func (w *treeWalk) buckets() error { return w.bucketsBelow(w.file.meta.root) }

// bucketsBelow is buckets for a part of them. Mostly there is only one leaf; small
// buckets are within it, and several that are nearly too large for that split it.
func (w *treeWalk) bucketsBelow(id uint64) error {
	p, err := w.take(id)
	if err != nil {
		return w.fault("", id, err)
	}
	all, err := p.all()
	if err != nil || p.kind != pageLeaf && p.kind != pageBranch {
		return w.fault("", id, fmt.Errorf("page %d is %w: it does not list the buckets", id, ErrDamaged))
	}
	for _, e := range all {
		if p.kind == pageBranch {
			if err := w.bucketsBelow(e.page); err != nil {
				return err
			}
			continue
		}
		if w.only != "" && string(e.key) != w.only {
			continue
		}
		w.names = append(w.names, string(e.key))
		if !e.bucket || len(e.value) < 16 {
			err = w.fault(string(e.key), id, fmt.Errorf("page %d is %w: its %q is no bucket", id, ErrDamaged, e.key))
		} else {
			err = w.bucket(p.id, string(e.key), e.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket visits one bucket. A small one is a page within the value, which is on
// that page.
func (w *treeWalk) bucket(on uint64, name string, value []byte) error {
	if id := binary.NativeEndian.Uint64(value); id != 0 {
		return w.visit(name, id)
	}
	p := inlinePage(on, value)
	if p == nil {
		return w.fault(name, on, fmt.Errorf("bucket %s is %w: it is cut short", name, ErrDamaged))
	}
	return w.elements(name, p)
}

// inlinePage returns the page that is the value of a small bucket, whose
// elements are within another page; nil when it is none.
func inlinePage(id uint64, value []byte) *page {
	order := binary.NativeEndian
	if len(value) < 16+pageHead || order.Uint64(value) != 0 {
		return nil
	}
	b := value[16:]
	return &page{id: id, kind: order.Uint16(b[8:]), elements: int(order.Uint16(b[10:])), b: b}
}

// take reads a page that was not seen before.
func (w *treeWalk) take(id uint64) (*page, error) {
	p, err := w.file.page(id)
	if err != nil {
		return nil, err
	}
	return p, w.mark(p)
}

func (w *treeWalk) mark(p *page) error {
	for id := p.id; id <= p.id+p.further; id++ {
		if !w.seen.add(id) {
			return fmt.Errorf("page %d is %w: it is in use twice", id, ErrDamaged)
		}
	}
	return nil
}

func (w *treeWalk) visit(bucket string, id uint64) error {
	p, err := w.take(id)
	if err != nil {
		return w.fault(bucket, id, err)
	}
	return w.elements(bucket, p)
}

func (w *treeWalk) elements(bucket string, p *page) error {
	all, err := p.all()
	switch {
	case err == nil && p.kind != pageBranch && p.kind != pageLeaf:
		err = fmt.Errorf("page %d is %w: it is in a bucket and is no part of one", p.id, ErrDamaged)
	case err == nil && p.kind == pageLeaf && w.leaf != nil:
		return w.leaf(bucket, all)
	}
	if err != nil || p.kind == pageLeaf {
		return w.fault(bucket, p.id, err)
	}
	return w.children(bucket, all)
}

// children visits what is below a branch: either leaves, or branches again.
func (w *treeWalk) children(bucket string, all []element) error {
	if w.leaf == nil {
		first, err := w.file.head(all[0].page)
		if err != nil {
			return w.fault(bucket, all[0].page, err)
		}
		if first.kind == pageLeaf {
			return w.unread(all)
		}
	}
	for _, e := range all {
		if err := w.visit(bucket, e.page); err != nil {
			return err
		}
	}
	return nil
}

// unread counts leaves as seen without reading them.
func (w *treeWalk) unread(all []element) error {
	for _, e := range all {
		if e.page < 2 || e.page >= w.file.meta.pages || !w.seen.add(e.page) {
			return fmt.Errorf("page %d is %w: a branch leads to it, and should not", e.page, ErrDamaged)
		}
	}
	return nil
}

// free compares the list of free pages with those in use.
func (w *treeWalk) free() error {
	free, err := w.file.freePages()
	if err != nil {
		return err
	}
	for _, id := range free {
		if w.seen.has(id) {
			return fmt.Errorf("page %d is %w: it is in use, and in the list of free pages", id, ErrDamaged)
		}
	}
	if w.file.meta.freeList == noFreeList {
		return nil
	}
	_, err = w.take(w.file.meta.freeList)
	return err
}
