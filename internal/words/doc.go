// Package words gives the constants of a type their words: what String, MarshalText and
// UnmarshalText of an enumeration do.
//
//	var sides = words.Of[Side]("neither", "ours", "theirs", "both")
//
//	func (s Side) String() string                     { return sides.String(s) }
//	func (s Side) MarshalText() ([]byte, error)       { return sides.Marshal(s) }
//	func (s *Side) UnmarshalText(text []byte) error { return sides.Unmarshal(text, s) }
//
// What is none of the constants has no word: it prints as "Side(200)", and is not marshalled.
package words
