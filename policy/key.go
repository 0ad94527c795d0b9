package policy

import "encoding/binary"

// A key holds everything that an entrypoint's input is written from: two requests have the same key exactly when they have
// the same input. Every field has a fixed length or is preceded by its length, in a fixed order, so that no two requests
// can run into each other. It is shorter than the input and written several
// times faster.

// keyBytes is room for the key of a usual request.
const keyBytes = 1024

// appendKey writes the key of a request that is put to an entrypoint.
func appendKey(b []byte, q question, r *Request) []byte {
	s := &r.Resource
	b = append(b, byte(q))
	b = appendSubject(b, &r.Subject)
	b = appendText(b, string(r.Action))
	b = appendText(b, string(s.Source))
	b = appendText(b, s.Path)
	b = appendText(b, s.Name)
	b = appendText(b, s.Purpose)
	if q == askReference {
		return b
	}
	b = appendText(b, s.Resolved)
	b = appendTexts(b, s.Above)
	b = appendTexts(b, s.Links)
	b = appendText(b, s.Origin)
	b = appendText(b, string(s.Facts))
	b = appendFile(b, &s.File)
	b = appendFile(b, &s.OriginFile)
	b = appendText(b, string(r.Context.Phase))
	b = appendText(b, r.Context.Host)
	b = appendText(b, r.Context.Environment)
	return appendText(b, string(r.Context.Memory))
}

func appendSubject(b []byte, s *Subject) []byte {
	b = appendText(b, s.Service)
	b = appendText(b, s.Container)
	b = appendNumbers(b, s.UID, s.GID)
	b = appendText(b, s.Unit)
	b = appendText(b, s.Exe)
	b = appendText(b, s.SPIFFEID)
	b = appendText(b, s.Attested.UID)
	b = appendText(b, s.Attested.GID)
	b = appendText(b, s.Attested.Unit)
	b = appendText(b, s.Attested.Exe)
	return appendText(b, s.Attested.SPIFFEID)
}

func appendFile(b []byte, f *File) []byte {
	b = appendText(b, f.Type)
	b = appendText(b, f.Filesystem)
	b = appendNumbers(b, int64(f.Mode), f.UID, f.GID, f.Size, f.NLink, int64(f.Symlinks))
	b = append(b, packed(f.OwnerIsRoot, f.OwnerIsMe, f.Mount.ReadOnly, f.Mount.NoSUID, f.Mount.NoDev, f.Mount.NoExec),
		packed(f.FinalSymlink, f.ACL, f.Readers.Everyone, f.Writers.Everyone, f.Immutable, f.AppendOnly))
	for _, ids := range [...][]int64{f.Readers.UIDs, f.Readers.GIDs, f.Writers.UIDs, f.Writers.GIDs} {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(ids)))
		b = appendNumbers(b, ids...)
	}
	return b
}

func appendTexts(b []byte, texts []string) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(texts)))
	for _, s := range texts {
		b = appendText(b, s)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...) //nolint:gosec // G115: no key that is remembered has 4 GiB
}

func appendNumbers(b []byte, numbers ...int64) []byte {
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, uint64(n)) //nolint:gosec // G115: the bits are what counts
	}
	return b
}

// packed holds at most eight booleans.
func packed(values ...bool) (b byte) {
	for i, v := range values {
		if v {
			b |= 1 << i
		}
	}
	return b
}
