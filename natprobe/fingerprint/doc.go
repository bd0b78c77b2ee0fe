// Package fingerprint tells NATs apart by what they do, and finds out which do the
// same.
//
// A [Vector] is the fingerprint of one NAT in five dimensions: how far away it is,
// whether it keeps ports, how long its mappings live, what it filters, and whether
// it answers ICMP echo requests. What is not known is masked, and never guessed.
//
// # Where the values come from
//
// [Collect] probes many addresses at once by ICMP echo, over ping sockets that need
// no privilege. That gives two dimensions, and from outside no more can be had. The
// other three are known to programs behind the NAT, which run natprobe there and
// pass on an [Observation].
//
// # What becomes of them
//
// [Group] puts the vectors on one scale ([FitScaler]) and finds clusters, by default
// with DBSCAN, which needs no number of clusters and says of what is like nothing
// else that it is noise; or with k-means++, where that is wanted. Both bear what
// measurements are like: masked dimensions, and now and then a value that is wrong.
// A vector that is masked cannot join two clusters that differ just there, and one
// that is wrong in a single dimension goes where the other four belong.
//
// Each [Cluster] is then checked: in which dimensions its members agree, who is an
// outlier in which, and whether it is one cluster at all. Its [Label] says what the
// NATs in it do, as far as they agree.
//
// Nothing here depends on the order of a map or on a clock: the same vectors, in the
// same order and with the same seed, give the same clusters.
package fingerprint
