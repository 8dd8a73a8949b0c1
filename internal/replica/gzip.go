package replica

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
)

// compress returns b as one gzip member (RFC 1952). Members can be concatenated, so
// a part that many answers share is compressed once.
func compress(b []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // the level is valid, and writes to a Buffer do not fail
	}
	return out.Bytes()
}

// Stored returns b as a gzip member that is not compressed (RFC 1951, section
// 3.2.4), for parts that are too small to compress.
func Stored(b []byte) []byte {
	const maxBlock = 1<<16 - 1
	out := append(make([]byte, 0, len(b)+32), 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255)
	for rest := b; ; rest = rest[maxBlock:] {
		if len(rest) <= maxBlock {
			out = append(out, 1)
			out = appendBlock(out, rest)
			break
		}
		out = append(out, 0)
		out = appendBlock(out, rest[:maxBlock])
	}
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(b))
	return binary.LittleEndian.AppendUint32(out, uint32(len(b))) // modulo 2³², says the RFC
}

func appendBlock(out, b []byte) []byte {
	n := uint16(len(b)) // at most 65 535
	out = binary.LittleEndian.AppendUint16(out, n)
	out = binary.LittleEndian.AppendUint16(out, ^n)
	return append(out, b...)
}
