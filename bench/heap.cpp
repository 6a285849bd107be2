#include "heap.h"

#include <malloc.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

// The names under which glibc keeps its own.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
}

namespace {

std::atomic<std::size_t> held{0};
std::atomic<std::size_t> most{0};

void* taken(void* p) {
  if (p == nullptr) return p;
  const std::size_t bytes = malloc_usable_size(p);
  const std::size_t now = held.fetch_add(bytes) + bytes;
  std::size_t before = most.load();
  while (now > before && !most.compare_exchange_weak(before, now)) {
  }
  return p;
}

void given_back(void* p) {
  if (p != nullptr) held.fetch_sub(malloc_usable_size(p));
}

}  // namespace

extern "C" {
void* malloc(std::size_t n) { return taken(__libc_malloc(n)); }
void* calloc(std::size_t n, std::size_t size) { return taken(__libc_calloc(n, size)); }
void* realloc(void* p, std::size_t n) {
  given_back(p);
  void* moved = __libc_realloc(p, n);
  if (moved == nullptr && n != 0) taken(p);
  return taken(moved);
}
void* memalign(std::size_t align, std::size_t n) { return taken(__libc_memalign(align, n)); }
void* aligned_alloc(std::size_t align, std::size_t n) { return memalign(align, n); }
int posix_memalign(void** out, std::size_t align, std::size_t n) {
  void* p = memalign(align, n);
  if (p == nullptr) return ENOMEM;
  *out = p;
  return 0;
}
void free(void* p) {
  given_back(p);
  __libc_free(p);
}
}

namespace headscope::bench {

std::size_t heap_bytes() { return held.load(); }
std::size_t heap_peak() { return most.load(); }
void restart_heap_peak() { most.store(held.load()); }

}  // namespace headscope::bench
