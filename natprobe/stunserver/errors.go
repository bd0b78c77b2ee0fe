package stunserver

// ConfigError says that a field of Config cannot be used.
type ConfigError struct {
	Field  string // which
	Reason string // why, with the value and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "stunserver: " + e.Field + ": " + e.Reason }
