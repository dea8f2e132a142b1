# The front door; CMake does the work.
#
#   make              build the program: build/muga
#   make demo         set everything up and run the customer-service agent on a real small model
#   make check        set up what tests need, build, pass every test
#   make check-long   the same with the tests that take hours
#   make bench        measure against llama.cpp, shortly (docs/SPEED.md has the long way)
#   make install      PREFIX=/usr/local, DESTDIR honoured
#   make format       lay out the source as .clang-format says
#   make clean        remove what was built
.POSIX:
.PHONY: all demo check check-long bench install format clean

PREFIX = /usr/local

all:
	@scripts/setup --build
	@PREFIX="$(PREFIX)" scripts/build release muga muga_static muga_shared

demo:
	@scripts/setup
	@PREFIX="$(PREFIX)" scripts/build release muga
	@scripts/demo

check:
	@scripts/check

check-long:
	@MUGA_LONG=1 scripts/check

bench: all
	@scripts/build release make_model
	@rm -f build/bench/peers.csv
	@bench/peers --rounds 1 --out build/bench/peers.csv

install: all
	@cmake --install build
	@if [ -z "$${DESTDIR-}" ] && [ "$$(id -u)" -eq 0 ]; then ldconfig 2>/dev/null || true; fi

format:
	@scripts/check-format --fix

clean:
	rm -rf build build-debug build-asan build-tsan build-fuzz build-aarch64
