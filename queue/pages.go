package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt takes every page at its word: a damaged one ends the process, sends it
// in circles, or is written over. So we read its format (version 2, in the byte
// order of the machine) ourselves where a page may be damaged:
//
//	page     ID 8, kind 2, elements 2, further pages that belong to it 4
//	leaf     elements: flags 4, place of the key 4, its length 4, the value's 4; keys with values
//	branch   elements: place of the key 4, its length 4, page 8; keys
//	free     IDs 8 each; 0xffff elements means that the first is the number
//	meta     magic 4, version 4, page size 4, flags 4, root 8, sequence 8, list of
//	         free pages 8, pages 8, transaction 8, FNV-1a of all that 8
//
// A place counts from the element's own beginning. Pages 0 and 1 are meta pages
// and the newer one counts.
const (
	pageBranch = 0x01
	pageLeaf   = 0x02
	pageFree   = 0x10

	pageHead    = 16
	leafHead    = 16
	branchHead  = 16
	metaLength  = 64
	metaMagic   = 0xed0cdaed
	metaVersion = 2
	bucketFlag  = 1
	noFreeList  = ^uint64(0)

	// maxPage bounds what one page is read into memory, with those that belong
	// to it. The largest thing in the index is a record with its content.
	maxPage = 64 << 20
)

// pageFile is an index read page by page.
type pageFile struct {
	r    io.ReaderAt
	meta pageMeta
}

// pageMeta is what a meta page says.
type pageMeta struct {
	pageSize                      int
	root, freeList, pages, number uint64
}

// openPages reads the meta pages of an index of size octets. There may be pages
// to read in one that was cut short.
func openPages(r io.ReaderAt, size int64) (*pageFile, error) {
	if size == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrDamaged)
	}
	metas, err := readMetas(r, size)
	if err != nil {
		return nil, err
	}
	if len(metas) == 0 {
		return nil, fmt.Errorf("%w: neither of its first two pages can be read, or it is not the index of a queue", ErrDamaged)
	}
	f := &pageFile{r: r, meta: metas[0]}
	for _, m := range metas[1:] {
		if m.number > f.meta.number {
			f.meta = m
		}
	}
	if whole := int64(f.meta.pages) * int64(f.meta.pageSize); size < whole {
		return f, fmt.Errorf("%w: it has %d of %d octets", ErrDamaged, size, whole)
	}
	return f, nil
}

// readMetas returns the meta pages that can be read. The second is where the
// first says that pages end; without the first, every possible place is tried.
func readMetas(r io.ReaderAt, size int64) ([]pageMeta, error) {
	var found []pageMeta
	places := []int64{0}
	for at := int64(512); at <= 64<<10; at *= 2 {
		places = append(places, at)
	}
	for _, at := range places {
		if at+pageHead+metaLength > size {
			break
		}
		b := make([]byte, pageHead+metaLength)
		if _, err := r.ReadAt(b, at); err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		if m, ok := parseMeta(b[pageHead:]); ok && (at == 0 || at == int64(m.pageSize)) {
			found = append(found, m)
		}
	}
	return found, nil
}

func parseMeta(b []byte) (m pageMeta, ok bool) {
	order := binary.NativeEndian
	sum := fnv.New64a()
	sum.Write(b[:metaLength-8])
	if order.Uint32(b) != metaMagic || order.Uint32(b[4:]) != metaVersion || order.Uint64(b[metaLength-8:]) != sum.Sum64() {
		return m, false
	}
	m = pageMeta{
		pageSize: int(order.Uint32(b[8:])), root: order.Uint64(b[16:]), freeList: order.Uint64(b[32:]),
		pages: order.Uint64(b[40:]), number: order.Uint64(b[48:]),
	}
	return m, m.pageSize >= 512 && m.pageSize <= 64<<10 && m.pageSize&(m.pageSize-1) == 0 && m.pages < 1<<40
}

// page is one page with those that belong to it.
type page struct {
	id       uint64
	kind     uint16
	elements int
	further  uint64
	b        []byte
}

// head reads the beginning of a page alone.
func (f *pageFile) head(id uint64) (*page, error) {
	b := make([]byte, pageHead)
	if err := f.read(b, id); err != nil {
		return nil, err
	}
	return f.parseHead(id, b)
}

func (f *pageFile) read(b []byte, id uint64) error {
	if id < 2 || id >= f.meta.pages {
		return fmt.Errorf("page %d is %w: there is no such page", id, ErrDamaged)
	}
	_, err := f.r.ReadAt(b, int64(id)*int64(f.meta.pageSize))
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("page %d is %w: it is missing", id, ErrDamaged)
	}
	if err != nil {
		return fmt.Errorf("read page %d: %w", id, err)
	}
	return nil
}

func (f *pageFile) parseHead(id uint64, b []byte) (*page, error) {
	order := binary.NativeEndian
	p := &page{id: id, kind: order.Uint16(b[8:]), elements: int(order.Uint16(b[10:])), further: uint64(order.Uint32(b[12:])), b: b}
	if order.Uint64(b) != id || id+p.further >= f.meta.pages {
		return nil, fmt.Errorf("page %d is %w: its head is not its own", id, ErrDamaged)
	}
	if p.kind != pageBranch && p.kind != pageLeaf && p.kind != pageFree {
		return nil, fmt.Errorf("page %d is %w: it is of no known kind", id, ErrDamaged)
	}
	return p, nil
}

// page reads a page with those that belong to it.
func (f *pageFile) page(id uint64) (*page, error) {
	p, err := f.head(id)
	if err != nil {
		return nil, err
	}
	length := (p.further + 1) * uint64(f.meta.pageSize)
	if length > maxPage && p.kind != pageFree {
		return nil, fmt.Errorf("page %d is %w: it is too long", id, ErrDamaged)
	}
	p.b = make([]byte, length)
	return p, f.read(p.b, id)
}

// element is one element of a leaf or a branch.
type element struct {
	key, value []byte
	page       uint64 // of a branch
	bucket     bool   // the value is a bucket
}

// element returns one element, when it is within the page.
func (p *page) element(i int) (element, bool) {
	order := binary.NativeEndian
	at := pageHead + i*leafHead // a branch's are as long
	if i >= p.elements || at+leafHead > len(p.b) {
		return element{}, false
	}
	head := p.b[at:]
	var e element
	var place, key, value uint64
	if p.kind == pageBranch {
		place, key, e.page = uint64(order.Uint32(head)), uint64(order.Uint32(head[4:])), order.Uint64(head[8:])
	} else {
		e.bucket = order.Uint32(head)&bucketFlag != 0
		place, key, value = uint64(order.Uint32(head[4:])), uint64(order.Uint32(head[8:])), uint64(order.Uint32(head[12:]))
	}
	begin := uint64(at) + place
	if place < leafHead || begin+key+value > uint64(len(p.b)) {
		return element{}, false
	}
	e.key, e.value = p.b[begin:begin+key], p.b[begin+key:begin+key+value]
	return e, key > 0
}

// all returns the elements of a leaf or branch, which must be in order.
func (p *page) all() ([]element, error) {
	elements := make([]element, 0, p.elements)
	for i := range p.elements {
		e, ok := p.element(i)
		if !ok || i > 0 && bytes.Compare(elements[i-1].key, e.key) >= 0 {
			return nil, fmt.Errorf("page %d is %w: element %d", p.id, ErrDamaged, i)
		}
		elements = append(elements, e)
	}
	if p.kind == pageBranch && len(elements) == 0 {
		return nil, fmt.Errorf("page %d is %w: a branch without elements", p.id, ErrDamaged)
	}
	return elements, nil
}

// freePages returns what the list of free pages has.
func (f *pageFile) freePages() ([]uint64, error) {
	if f.meta.freeList == noFreeList {
		return nil, nil
	}
	p, err := f.page(f.meta.freeList)
	if err != nil {
		return nil, err
	}
	order := binary.NativeEndian
	b, n := p.b[pageHead:], uint64(p.elements)
	if p.elements == 0xffff {
		n, b = order.Uint64(b), b[8:]
	}
	if p.kind != pageFree || n > uint64(len(b))/8 {
		return nil, fmt.Errorf("page %d is %w: it is no list of free pages", p.id, ErrDamaged)
	}
	all := make([]uint64, n)
	for i := range all {
		all[i] = order.Uint64(b[i*8:])
		if all[i] < 2 || all[i] >= f.meta.pages || i > 0 && all[i] <= all[i-1] {
			return nil, fmt.Errorf("page %d is %w: the list of free pages", p.id, ErrDamaged)
		}
	}
	return all, nil
}
