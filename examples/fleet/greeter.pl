#!/usr/bin/perl
# A small web service that lives in an image: greets with what its root says.  `greeter --ask` is its own probe.
use strict;
use warnings;
use IO::Socket::INET;

my $version = "VERSION";
my $port    = 8080;

sub read_line {
    my ($path) = @_;
    open my $file, "<", $path or return "";
    my $line = <$file> // "";
    chomp $line;
    return $line;
}

my $said = join ", ", read_line("/etc/greeter/greeting"), "greeter $version", "on " . read_line("/etc/greeter/host");

if (($ARGV[0] // "") eq "--ask") {
    my $line = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 2) or die "nobody answers on $port: $@\n";
    print $line "GET / HTTP/1.0\r\n\r\n";
    my $answer = join "", <$line>;
    $answer =~ s/.*\r\n\r\n//s;
    die "it says '$answer', not '$said'\n" if $answer ne $said;
    exit 0;
}

# ReusePort: the next one listens beside this one before this one ends, so nobody is turned away.
my $door = IO::Socket::INET->new(LocalPort => $port, Listen => 64, ReuseAddr => 1, ReusePort => 1)
    or die "port $port: $!\n";
open my $ready, ">", "/run/greeter.ready" or die "/run/greeter.ready: $!\n";
close $ready;
$SIG{TERM} = sub { exit 0 };
$SIG{PIPE} = "IGNORE";
while (1) {
    my $visitor = $door->accept() or next;
    my $asked = <$visitor>;
    print $visitor "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ", length $said, "\r\n\r\n", $said;
    close $visitor;
}
