package dashboard

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Place is roughly where a detector is: a country, or a point of whole degrees. It cannot
// hold anything finer. The zero value is nowhere. In JSON it is {"country": "DE"} or
// {"lat": 48, "lon": 12}.
type Place struct {
	kind     placeKind
	country  [2]byte
	lat, lon int16
}

type placeKind uint8

const (
	nowhere placeKind = iota
	inCountry
	atPoint
)

// Country returns the place that is a country by its code of ISO 3166-1 alpha-2, such as "DE",
// or "XK" for Kosovo. The error is a *ReportError.
func Country(code string) (Place, error) {
	if _, ok := countries[code]; !ok {
		return Place{}, badReport("place", "%q is no country; give two capital letters of ISO 3166-1", cut(code))
	}
	return Place{kind: inCountry, country: [2]byte{code[0], code[1]}}, nil
}

// LatLon returns the point of whole degrees that is the nearest to a latitude (-90 to 90,
// north is positive) and a longitude (-180 to 180, east is positive). The error is a
// *ReportError.
func LatLon(lat, lon float64) (Place, error) {
	// Written so that a NaN is refused.
	if !(lat >= -90 && lat <= 90) {
		return Place{}, badReport("place", "latitude %v is out of range; give -90 to 90", lat)
	}
	if !(lon >= -180 && lon <= 180) {
		return Place{}, badReport("place", "longitude %v is out of range; give -180 to 180", lon)
	}
	p := Place{kind: atPoint, lat: int16(math.Round(lat)), lon: int16(math.Round(lon))}
	if p.lon == 180 {
		p.lon = -180 // the same line has one name
	}
	return p, nil
}

// IsZero reports whether p is nowhere.
func (p Place) IsZero() bool { return p.kind == nowhere }

// String returns "DE", "48,12" or "".
func (p Place) String() string {
	switch p.kind {
	case inCountry:
		return string(p.country[:])
	case atPoint:
		return strconv.Itoa(int(p.lat)) + "," + strconv.Itoa(int(p.lon))
	}
	return ""
}

// at is where on the map the place is.
func (p Place) at() (lat, lon int) {
	if p.kind == inCountry {
		c := countries[string(p.country[:])]
		return int(c[0]), int(c[1])
	}
	return int(p.lat), int(p.lon)
}

// MarshalJSON writes the place; null for nowhere.
func (p Place) MarshalJSON() ([]byte, error) {
	switch p.kind {
	case inCountry:
		return fmt.Appendf(nil, `{"country":%q}`, p.country[:]), nil
	case atPoint:
		return fmt.Appendf(nil, `{"lat":%d,"lon":%d}`, p.lat, p.lon), nil
	}
	return []byte("null"), nil
}

// UnmarshalJSON reads a place and rounds it. The error is a *ReportError.
func (p *Place) UnmarshalJSON(data []byte) error {
	var j *struct {
		Country  *string
		Lat, Lon *float64
	}
	if err := json.Unmarshal(data, &j); err != nil {
		return badReport("place", "%s", cut(err.Error()))
	}
	var (
		got Place
		err error
	)
	switch {
	case j == nil || j.Country == nil && j.Lat == nil && j.Lon == nil:
	case j.Country != nil && (j.Lat != nil || j.Lon != nil):
		err = badReport("place", "is a country and a point; give one of them")
	case j.Country != nil:
		got, err = Country(*j.Country)
	case j.Lat == nil || j.Lon == nil:
		err = badReport("place", "is half a point; give lat and lon")
	default:
		got, err = LatLon(*j.Lat, *j.Lon)
	}
	if err != nil {
		return err
	}
	*p = got
	return nil
}
