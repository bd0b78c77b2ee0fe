// Package dashchromium holds tests in which headless Chromium, driven by chromedp, shows the
// page of stats/dashboard: what it draws, how it looks, and what it does when the server
// goes away, or when somebody has written a script into it.
package dashchromium
