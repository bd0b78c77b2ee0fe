package decay

import (
	"encoding/binary"
	"errors"
	"math"
)

// tallyVersion is the first byte of a tally's binary form.
const tallyVersion = 1

var errForm = errors.New("decay: this is no tally, or one of a later version")

// AppendBinary appends a form of the tally to b, 2 to 200 bytes: its latest hour, and the
// hours before it that have counts. It does not fail.
func (t *Tally) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, tallyVersion)
	b = binary.AppendVarint(b, t.latest)
	for age := range hours {
		if count := t.at(t.latest - age); *count != [2]uint16{} {
			b = append(b, byte(age))
			b = binary.AppendUvarint(b, uint64(count[0]))
			b = binary.AppendUvarint(b, uint64(count[1]))
		}
	}
	return b, nil
}

// UnmarshalBinary reads what AppendBinary wrote. Nothing of it is taken on trust; on an
// error t is as it was.
func (t *Tally) UnmarshalBinary(data []byte) error {
	if len(data) == 0 || data[0] != tallyVersion {
		return errForm
	}
	data = data[1:]
	var got Tally
	latest, n := binary.Varint(data)
	// What is this far from either end can be counted on without overflow.
	if n <= 0 || latest < math.MinInt64/4 || latest > math.MaxInt64/4 {
		return errForm
	}
	got.latest, data = latest, data[n:]
	for last := -1; len(data) > 0; {
		age := int(data[0])
		if age <= last || age >= int(hours) {
			return errForm
		}
		last, data = age, data[1:]
		for i := range 2 {
			count, n := binary.Uvarint(data)
			if n <= 0 || count > math.MaxUint16 {
				return errForm
			}
			got.at(latest - int64(age))[i] = uint16(count)
			data = data[n:]
		}
	}
	*t = got
	return nil
}
