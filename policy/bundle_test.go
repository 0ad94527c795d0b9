package policy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const goodManifest = `{"revision":"r","roots":["secrets"],"wasm":[
	{"entrypoint":"secrets/load/decision","module":"/policy.wasm"},{"entrypoint":"secrets/load/may_ask","module":"/policy.wasm"}]}`

// entry is a member of a tarball that a test writes.
type entry struct {
	name, content string
	typeflag      byte
	size          int64 // declared, when it is not the content's
}

// good are the entries of a bundle that is accepted.
func good() []entry {
	return []entry{
		{name: "/policy.wasm", content: "\x00asm"},
		{name: "/data.json", content: `{"secrets":{"services":{}}}`},
		{name: "/.manifest", content: goodManifest},
		{name: "/sub/load.rego", content: "package secrets.load"},
	}
}

// with returns the good entries with one replaced, or taken out when its content is "-".
func with(name, content string) []entry {
	entries := good()
	for i := range entries {
		if entries[i].name == name {
			entries[i].content = content
			if content == "-" {
				return append(entries[:i], entries[i+1:]...)
			}
			return entries
		}
	}
	return append(entries, entry{name: name, content: content})
}

func tarball(t testing.TB, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range entries {
		hdr := &tar.Header{Name: e.name, Typeflag: e.typeflag, Mode: 0o644, Size: int64(len(e.content)), Linkname: "x"}
		if e.typeflag == 0 {
			hdr.Typeflag, hdr.Linkname = tar.TypeReg, ""
		}
		if e.size > 0 {
			hdr.Size = e.size
		}
		if err := tw.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
		if e.size > 0 {
			return buf.Bytes() // cut behind what there is
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zw.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestOnlyTheEmbeddedModuleIsProven: POL-6007. No other module may be compiled where a panic of wazero ends the process.
func TestOnlyTheEmbeddedModuleIsProven(t *testing.T) {
	b, err := DefaultBundle([]byte("{}"))
	if err != nil || !b.proven() {
		t.Fatalf("proven %v, error %v", b.proven(), err)
	}
	b.Wasm = bytes.Clone(b.Wasm)
	if b.Wasm[len(b.Wasm)-1] ^= 1; b.proven() {
		t.Error("an altered module is proven")
	}
	read, err := ReadBundle(defaultBundle)
	if err != nil || !read.proven() || (&Bundle{}).proven() {
		t.Errorf("from a file it is proven: %v, nothing is: %v, error %v", read.proven(), (&Bundle{}).proven(), err)
	}
}

func TestReadBundleRefuses(t *testing.T) {
	pack := func(entries []entry) []byte { return gzipped(t, tarball(t, entries)) }
	manifest := func(s string) []byte { return pack(with("/.manifest", s)) }
	fine := pack(good())
	many := good()
	for i := range maxEntries {
		many = append(many, entry{name: fmt.Sprintf("/%d.rego", i)})
	}
	plus := func(e entry) []byte { return pack(append(good(), e)) }
	// The last byte that may come out of an archive is the last of a file: what exceeds the bound is the next header.
	full := []entry{{name: "/data.json", content: strings.Repeat(" ", maxData)}, {name: "/policy.wasm", content: strings.Repeat("w", maxWasm)}}
	for i := range 16 {
		full = append(full, entry{name: fmt.Sprintf("/%d.rego", i), content: strings.Repeat("#", maxRego)})
	}
	full[17].content = full[17].content[:maxRego-len(full)*512]
	corrupt := bytes.Clone(fine)
	corrupt[len(corrupt)-6] ^= 1 // in the checksum
	for name, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"nothing":                  {nil, "not a gzip archive: the archive ends too early"},
		"not gzip":                 {tarball(t, good()), "not a gzip archive"},
		"not a tarball":            {gzipped(t, bytes.Repeat([]byte("x"), 2000)), "not a tarball"},
		"gzip of nothing":          {gzipped(t, nil), "no .manifest"},
		"truncated":                {fine[:len(fine)/2], "the archive ends too early"},
		"without its checksum":     {fine[:len(fine)-8], "the archive ends too early"},
		"a wrong checksum":         {corrupt, "invalid checksum"},
		"trailing garbage":         {append(bytes.Clone(fine), "garbage"...), "trailing bytes after the archive"},
		"one trailing byte":        {append(bytes.Clone(fine), 0x1f), "trailing bytes after the archive"},
		"a second member":          {append(bytes.Clone(fine), fine...), "a second gzip member"},
		"data behind the tarball":  {gzipped(t, append(tarball(t, good()), "x"...)), "data after the end of the tarball"},
		"a second tarball":         {gzipped(t, append(tarball(t, good()), tarball(t, good())...)), "data after the end of the tarball"},
		"too large":                {make([]byte, maxArchive+1), "the archive has 100663297 bytes"},
		"too much unpacked":        {gzipped(t, append(tarball(t, good()), make([]byte, maxUnpacked)...)), "bytes unpacked"},
		"full before the end":      {pack(full), "bundle: a decompression bomb"},
		"too many entries":         {pack(many), "more than 1000 entries"},
		"a module too large":       {plus(entry{name: "/a.rego", content: strings.Repeat("#", maxRego+1)}), "a.rego has 1048577 bytes"},
		"Wasm said to be large":    {gzipped(t, tarball(t, []entry{{name: "/policy.wasm", size: maxWasm + 1}})), "policy.wasm has 16777217 bytes"},
		"data said to be large":    {gzipped(t, tarball(t, []entry{{name: "/data.json", size: maxData + 1}})), "data.json has 67108865 bytes"},
		"an entry cut":             {gzipped(t, tarball(t, []entry{{name: "/data.json", size: 1 << 20}})), "data.json: the archive ends too early"},
		"a path out":               {plus(entry{name: "../a.rego"}), "leads out of the bundle"},
		"a path out, in the midst": {plus(entry{name: "/a/../../b.rego"}), "leads out of the bundle"},
		"an absolute path":         {plus(entry{name: "//etc/a.rego"}), "leads out of the bundle"},
		"a directory out":          {plus(entry{name: "../", typeflag: tar.TypeDir}), "leads out of the bundle"},
		"an unclean path":          {plus(entry{name: "./a.rego"}), "unclean path"},
		"a backslash":              {plus(entry{name: `..\a.rego`}), "unclean path"},
		"a control character":      {plus(entry{name: "a\n.rego"}), "unclean path"},
		"a duplicate":              {plus(entry{name: "/policy.wasm", content: "\x00asm"}), `duplicate entry "policy.wasm"`},
		"a duplicate by slash":     {plus(entry{name: "policy.wasm", content: "\x00asm"}), `duplicate entry "policy.wasm"`},
		"a symbolic link":          {plus(entry{name: "/a.rego", typeflag: tar.TypeSymlink}), "not a regular file"},
		"a hard link":              {plus(entry{name: "/a.rego", typeflag: tar.TypeLink}), "not a regular file"},
		"a device":                 {plus(entry{name: "/a.rego", typeflag: tar.TypeChar}), "not a regular file"},
		"a FIFO":                   {plus(entry{name: "/a.rego", typeflag: tar.TypeFifo}), "not a regular file"},
		"an unknown file":          {plus(entry{name: "/README.md"}), `unknown file "README.md"`},
		"data in a folder":         {plus(entry{name: "/a/data.json"}), `unknown file "a/data.json"`},
		"OPA's signatures":         {plus(entry{name: "/.signatures.json"}), "unknown file"},
		"no Wasm":                  {pack(with("/policy.wasm", "-")), "no policy.wasm"},
		"empty Wasm":               {pack(with("/policy.wasm", "")), "no policy.wasm"},
		"no manifest":              {pack(with("/.manifest", "-")), "no .manifest"},
		"data that is a list":      {pack(with("/data.json", "[]")), "data.json: not a JSON object"},
		"data that is empty":       {pack(with("/data.json", "")), "data.json: the JSON ends too early"},
		"data cut":                 {pack(with("/data.json", `{"a":1`)), "data.json: the JSON ends too early"},
		"data with a tail":         {pack(with("/data.json", `{}{}`)), "data.json: something follows"},
		"data not UTF-8":           {pack(with("/data.json", "{\"a\":\"\xff\"}")), "data.json: not UTF-8"},
		"data repeated":            {pack(with("/data.json", `{"a":1,"a":1}`)), `data.json: duplicate member "a"`},
		"data repeated below":      {pack(with("/data.json", `{"a":[{"b":{"c":1,"\u0063":2}}]}`)), `duplicate member "a.[].b.c"`},
		"data too deep":            {pack(with("/data.json", `{"a":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+"}")), "nested deeper than 100"},
		"manifest not JSON":        {manifest("revision: 1"), ".manifest: "},
		"manifest unknown":         {manifest(`{"delta":true}`), `.manifest: unknown field "delta"`},
		"manifest of other case":   {manifest(`{"Revision":"x"}`), `unknown field "Revision"`},
		"manifest repeated":        {manifest(`{"revision":"a","revision":"b"}`), "duplicate member"},
		"manifest of Rego v0":      {manifest(`{"rego_version":0}`), "version 0 of Rego is not supported"},
		"manifest of what Rego":    {manifest(`{"rego_version":"1"}`), "rego_version: want a number"},
		"manifest of mixed Rego":   {manifest(`{"file_rego_versions":{}}`), "different Rego versions"},
		"manifest's revision":      {manifest(`{"revision":7}`), "revision: want a string"},
		"manifest's root":          {manifest(strings.Replace(goodManifest, `["secrets"]`, `["other"]`, 1)), `root "other"`},
		"manifest's API":           {manifest(strings.Replace(goodManifest, `{`, `{"metadata":{"api":"v2"},`, 1)), `made for API "v2"`},
		"manifest's metadata":      {manifest(strings.Replace(goodManifest, `{`, `{"metadata":{"time":"1h"},`, 1)), `metadata: unknown field "time"`},
		"metadata of no object":    {manifest(`{"metadata":[]}`), "metadata: want an object"},
		"metadata's name":          {manifest(`{"metadata":{"name":7}}`), "metadata: name: want a string"},
		"entrypoints no list":      {manifest(`{"wasm":{}}`), "wasm: want a list"},
		"entrypoint no object":     {manifest(`{"wasm":["secrets/load/may_ask"]}`), "wasm: want an object"},
		"entrypoint of no module":  {manifest(`{"wasm":[{"entrypoint":"secrets/load/may_ask"}]}`), "wasm: module: want a string"},
		"entrypoints none":         {manifest(`{"revision":"r"}`), `entrypoint "secrets/load/decision" is missing`},
		"entrypoint may_ask":       {manifest(strings.Replace(goodManifest, "may_ask", "may", 1)), `entrypoint "secrets/load/may_ask" is missing`},
		"entrypoint decision":      {manifest(strings.Replace(goodManifest, "decision", "d", 1)), `entrypoint "secrets/load/decision" is missing`},
		"entrypoint twice":         {manifest(strings.Replace(goodManifest, "may_ask", "decision", 1)), "listed twice"},
		"entrypoint elsewhere":     {manifest(strings.Replace(goodManifest, "/policy.wasm", "/b.wasm", 1)), "is in another module"},
		"entrypoint unnamed":       {manifest(`{"wasm":[{"module":"/policy.wasm"}]}`), "entrypoint: want a string"},
	} {
		t.Run("POL-1005/"+name, func(t *testing.T) {
			b, err := ReadBundle(c.archive)
			if b != nil || !errors.Is(err, ErrBundle) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestReadBundleAccepts(t *testing.T) {
	for name, c := range map[string]struct {
		entries []entry
		data    string
	}{
		"all of it":      {good(), `{"secrets":{"services":{}}}`},
		"no data":        {with("/data.json", "-"), "{}"},
		"no Rego":        {with("/sub/load.rego", "-"), `{"secrets":{"services":{}}}`},
		"directories":    {append(good(), entry{name: "sub/", typeflag: tar.TypeDir}), `{"secrets":{"services":{}}}`},
		"stock manifest": {with("/.manifest", strings.Replace(goodManifest, `["secrets"]`, `[""],"rego_version":1`, 1)), `{"secrets":{"services":{}}}`},
	} {
		t.Run("POL-1005/"+name, func(t *testing.T) {
			b, err := ReadBundle(gzipped(t, tarball(t, c.entries)))
			if err != nil {
				t.Fatal(err)
			}
			if string(b.Wasm) != "\x00asm" || string(b.data()) != c.data || b.Manifest.Revision != "r" {
				t.Errorf("read %+v", b)
			}
			if source := b.Rego["sub/load.rego"]; name != "no Rego" && string(source) != "package secrets.load" {
				t.Errorf("read Rego %q", source)
			}
		})
	}
}

func TestMarshalRefusesWhatReadBundleWould(t *testing.T) {
	fine := func() *Bundle {
		return &Bundle{Wasm: []byte("w"), Manifest: NewManifest("n", "r"), Rego: map[string][]byte{}}
	}
	for name, spoil := range map[string]func(*Bundle){
		"no Wasm":        func(b *Bundle) { b.Wasm = nil },
		"large Wasm":     func(b *Bundle) { b.Wasm = make([]byte, maxWasm+1) },
		"no entrypoints": func(b *Bundle) { b.Manifest = Manifest{} },
		"bad data":       func(b *Bundle) { b.Data = []byte("null") },
		"a path out":     func(b *Bundle) { b.Rego["../a.rego"] = nil },
		"not Rego":       func(b *Bundle) { b.Rego["policy.wasm"] = nil },
		"large Rego":     func(b *Bundle) { b.Rego["a.rego"] = make([]byte, maxRego+1) },
		"not UTF-8":      func(b *Bundle) { b.Manifest.Metadata.Name = "\xff" },
		"a long path":    func(b *Bundle) { b.Rego[strings.Repeat("a", 300)+".rego"] = nil },
		"too many files": func(b *Bundle) {
			for i := range maxEntries {
				b.Rego[fmt.Sprintf("%d.rego", i)] = nil
			}
		},
	} {
		t.Run("POL-1005/"+name, func(t *testing.T) {
			b := fine()
			spoil(b)
			if raw, err := b.Marshal(); raw != nil || !errors.Is(err, ErrBundle) {
				t.Errorf("wrote %d bytes, %v", len(raw), err)
			}
		})
	}
	t.Run("POL-1005/too much of all", func(t *testing.T) {
		if checkTotals(1, maxUnpacked) == nil || checkTotals(maxEntries-4, maxWasm+maxData) != nil {
			t.Error("the bound on the sum of all files is wrong")
		}
	})
	sparse := &Bundle{Wasm: []byte("w"), Manifest: NewManifest("", "")}
	for _, b := range []*Bundle{fine(), sparse} {
		if _, err := b.Marshal(); err != nil {
			t.Error(err)
		}
	}
}

// TestBundlesSurviveTheirArchive: what is written reads back, and what is read writes the same bytes.
func TestBundlesSurviveTheirArchive(t *testing.T) {
	t.Run("POL-1006", rapid.MakeCheck(func(t *rapid.T) {
		b := &Bundle{
			Wasm:     rapid.SliceOfN(rapid.Byte(), 1, 2000).Draw(t, "wasm"),
			Data:     []byte(fmt.Sprintf(`{"a":%d}`, rapid.Int().Draw(t, "data"))),
			Manifest: NewManifest(rapid.String().Draw(t, "name"), rapid.String().Draw(t, "revision")),
			Rego:     map[string][]byte{},
		}
		for _, name := range rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,8}(/[a-z]{1,8}){0,2}`), 0, 5).Draw(t, "names") {
			b.Rego[name+".rego"] = rapid.SliceOf(rapid.Byte()).Draw(t, "source")
		}
		raw, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		read, err := ReadBundle(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read.Wasm, b.Wasm) || !bytes.Equal(read.Data, b.Data) || !maps.EqualFunc(read.Rego, b.Rego, bytes.Equal) {
			t.Fatal("the bundle changed on its way")
		}
		again, err := read.Marshal()
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("written again, it differs: %v", err)
		}
	}))
}

// TestArchiveIsReproducible pins everything in an archive that is not content.
func TestArchiveIsReproducible(t *testing.T) {
	b := &Bundle{Wasm: []byte("w"), Manifest: NewManifest("n", "r"), Rego: map[string][]byte{"z.rego": nil, "a.rego": nil}}
	raw, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("POL-1006", func(t *testing.T) {
		if zr.Name != "" || zr.Comment != "" || len(zr.Extra) > 0 || !zr.ModTime.IsZero() {
			t.Errorf("gzip header %+v", zr.Header)
		}
		if !bytes.Contains(raw, []byte("/policy.wasm")) {
			t.Error("the archive is compressed")
		}
		var names []string
		for tr := tar.NewReader(zr); ; {
			hdr, err := tr.Next()
			if err != nil {
				break
			}
			names = append(names, hdr.Name)
			if hdr.Mode != 0o644 || hdr.Uid != 0 || hdr.Gid != 0 || hdr.Uname != "" || hdr.ModTime.Unix() != 0 || hdr.Format != tar.FormatUSTAR {
				t.Errorf("tar header %+v", hdr)
			}
		}
		if got := strings.Join(names, " "); got != "/.manifest /a.rego /data.json /policy.wasm /z.rego" {
			t.Errorf("entries %s", got)
		}
	})
}

// FuzzReadBundle: whatever is accepted survives being written and read.
func FuzzReadBundle(f *testing.F) {
	f.Add(gzipped(f, tarball(f, good())))
	f.Add(gzipped(f, tarball(f, with("/data.json", "-"))))
	f.Fuzz(func(t *testing.T, archive []byte) {
		b, err := ReadBundle(archive)
		if err != nil {
			if !errors.Is(err, ErrBundle) {
				t.Fatalf("%v does not match ErrBundle", err)
			}
			return
		}
		raw, err := b.Marshal()
		if err != nil {
			return // a name that our format cannot write
		}
		if _, err := ReadBundle(raw); err != nil {
			t.Fatal(err)
		}
	})
}
