// Package icechromium holds tests in which an agent of package ice meets the
// RTCPeerConnection of headless Chromium, driven by chromedp: on loopback in both roles,
// and in network namespaces, where Chromium hides its addresses behind mDNS names and
// behind a NAT of the kernel's. The paths are proved by a DTLS handshake over them.
package icechromium
