package hostile

import (
	"fmt"
	"strings"

	"example.com/curfew/token"
)

// json are documents that are not strict JSON, as the header or the payload of a
// token that is otherwise valid and validly signed.
func (f *forge) json(part string, good members, wrap func(document string) string) {
	doc := good.String()
	bad := func(document, name string, args ...any) {
		f.add(token.ErrMalformed, wrap(document), "JSON: "+part+": "+name, args...)
	}
	first := good[0]
	insert := func(text string) string { return strings.Replace(doc, "{", "{"+text+",", 1) }

	for _, document := range []string{
		`null`, `true`, `0`, `"text"`, `[]`, `[` + doc + `]`, `{}`, `{`, `}`, `{"`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, ` `, `{{}}`, `undefined`,
	} {
		bad(document, "%.9s", document)
	}
	bad(doc[:len(doc)-1], "the last brace missing")
	bad(doc[1:], "the first brace missing")
	bad("["+doc[1:], "a bracket for the first brace")
	bad("x"+doc[1:], "a letter for the first brace")
	bad(doc[:len(doc)-1]+"]", "a bracket for the last brace")
	bad(doc[:len(doc)/2], "half of it")
	bad(doc+doc, "twice")
	bad(doc+"x", "a letter behind")
	bad(doc+"\x00", "a NUL behind")
	bad(doc+",", "a comma behind")
	bad("\ufeff"+doc, "a byte order mark in front")
	bad("\v"+doc, "a vertical tab in front")
	bad("\u00a0"+doc, "a no-break space in front")
	bad(")]}'\n"+doc, "a prefix against script inclusion")
	bad(strings.Replace(doc, ",", ",,", 1), "two commas")
	bad(strings.Replace(doc, ",", "", 1), "no comma")
	bad(strings.Replace(doc, ",", ";", 1), "a semicolon for a comma")
	bad(strings.Replace(doc, ":", "=", 1), "an equals sign for a colon")
	bad(strings.Replace(doc, ":", "::", 1), "two colons")
	bad(strings.TrimSuffix(doc, "}")+",}", "a comma before the brace")
	bad(strings.ReplaceAll(doc, `"`, `'`), "apostrophes for quotes")
	bad(strings.Replace(doc, quote(first.name), first.name, 1), "a name without quotes")
	bad(strings.Replace(doc, "{", "{/* comment */", 1), "a comment")
	bad(strings.Replace(doc, "{", "{// comment\n", 1), "a line comment")
	bad(strings.Replace(doc, "{", "{# comment\n", 1), "a hash comment")

	for name, text := range map[string]string{
		"a value missing":                  `"x":`,
		"a name missing":                   `:1`,
		"a number for a name":              `1:1`,
		"a name without its first quote":   `x":1`,
		"no colon":                         `"x" 1`,
		"an array without a comma":         `"x":[1 2]`,
		"trux":                             `"x":trux`,
		"falsy":                            `"x":falsy`,
		"nuli":                             `"x":nuli`,
		"a raw unit separator in a text":   "\"x\":\"a\x1fb\"",
		"null for a name":                  `null:1`,
		"True":                             `"x":True`,
		"nul":                              `"x":nul`,
		"NaN":                              `"x":NaN`,
		"Infinity":                         `"x":Infinity`,
		"a number with a leading zero":     `"x":01`,
		"a number with a plus":             `"x":+1`,
		"a number with a point at an end":  `"x":1.`,
		"a number that begins so":          `"x":.5`,
		"a minus alone":                    `"x":-`,
		"an exponent without digits":       `"x":1e`,
		"a hexadecimal number":             `"x":0x10`,
		"an array that is left open":       `"x":[1`,
		"an array with a comma at its end": `"x":[1,]`,
		"an array with a colon":            `"x":[1:2]`,
		"an object closed as an array":     `"x":{"y":1]`,
		"a text that is left open":         `"x":"`,
		"an unknown escape":                `"x":"\x41"`,
		"an escape of nothing":             `"x":"\u"`,
		"an escape of three digits":        `"x":"\u123"`,
		"an escape with a g":               `"x":"\u00g0"`,
		"a raw line feed in a text":        "\"x\":\"a\nb\"",
		"a raw tab in a text":              "\"x\":\"a\tb\"",
		"a raw NUL in a text":              "\"x\":\"a\x00b\"",
		"a raw NUL in a name":              "\"x\x00\":1",
		"half a surrogate pair":            `"x":"\ud800"`,
		"the second half alone":            `"x":"\udc00"`,
		"a surrogate pair the wrong way":   `"x":"\udc00\ud800"`,
		"half a surrogate pair and text":   `"x":"\ud800x"`,
		"half a surrogate pair in a name":  `"\ud800":1`,
		"invalid UTF-8":                    "\"x\":\"\xff\"",
		"invalid UTF-8 in a name":          "\"\xc3\x28\":1",
		"a NUL in overlong UTF-8":          "\"x\":\"\xc0\x80\"",
		"a surrogate in UTF-8":             "\"x\":\"\xed\xa0\x80\"",
		"beyond Unicode in UTF-8":          "\"x\":\"\xf4\x90\x80\x80\"",
		"truncated UTF-8":                  "\"x\":\"\xe2\x82\"",
		"Latin-1":                          "\"x\":\"\xe9\"",
		"an unknown name twice":            `"x":1,"x":1`,
		"an unknown name twice, escaped":   `"x":1,"\u0078":1`,
		"a name twice, further down":       `"x":{"y":1,"y":2}`,
		"a name twice, in an array":        `"x":[{"y":1,"y":2}]`,
		"an empty name twice":              `"":1,"":1`,
		"32 levels of arrays":              `"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32),
		"32 levels of objects":             `"x":` + strings.Repeat(`{"x":`, 32) + "1" + strings.Repeat("}", 32),
		"500 levels left open":             `"x":` + strings.Repeat("[", 500),
		"1000 levels of arrays":            `"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000),
	} {
		bad(insert(text), "%s", name)
	}
	bad(insert(numbered(257-len(good))), "257 members")
	bad(insert(numbered(16)+`,"m7":0`), "a name among the first sixteen and once more")
	bad(insert(numbered(40)+`,"m30":0`), "a name twice beyond the first sixteen")
	bad(insert(`"x":{`+numbered(257)+`}`), "257 members further down")
	bad("\xff\xfe"+widened(doc), "UTF-16")

	// The required members, each repeated: neither the first nor the last may win.
	for _, m := range good {
		bad(insert(quote(m.name)+":"+m.value), "%s twice, with one value", m.name)
		bad(good.with("x", "0").String()[:len(doc)]+","+quote(m.name)+":null}", "%s twice, null behind", m.name)
		bad(insert(escaped(m.name)+":"+m.value), "%s twice, once escaped", m.name)
	}
}

// numbered returns n members called m0, m1, …
func numbered(n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(`"m%d":0`, i)
	}
	return strings.Join(out, ",")
}

// escaped returns a JSON string with its first character as an escape.
func escaped(name string) string { return fmt.Sprintf(`"\u%04x%s"`, name[0], name[1:]) }

// widened returns ASCII as UTF-16, little-endian.
func widened(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(s[i])
		b.WriteByte(0)
	}
	return b.String()
}
