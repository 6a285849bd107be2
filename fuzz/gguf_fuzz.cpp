// Whatever the bytes, a GGUF file is refused with an Error or its tensors can be read whole.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "formats/json.h"
#include "headscope/gguf.h"
#include "law.h"

namespace {

using headscope::Error;
using headscope::Gguf;

void read_all(std::span<const std::byte> file) {
  try {
    const Gguf gguf = Gguf::parse(file, "fuzz");
    std::size_t total = 0;
    unsigned sum = 0;
    for (const auto& [name, view] : gguf.tensors()) {
      law(gguf.find(name) == &view, "a tensor is found by its name");
      law(reinterpret_cast<std::uintptr_t>(view.data) % 8 == 0, "data is aligned");
      for (std::size_t i = 0; i < view.bytes(); ++i) sum += std::to_integer<unsigned>(view.data[i]);
      total += view.bytes();
    }
    volatile unsigned sink = sum;  // the reads are the point
    (void)sink;
    law(total <= file.size(), "tensors are no larger than their file");
    law(gguf.metadata().is_object(), "metadata is an object");
    (void)gguf.at("no such name, surely");
  } catch (const Error& error) {
    law(std::string(error.what()).find('\n') == std::string::npos, "an Error is one line");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy in exactly as many bytes, aligned as a mapped file is.
  std::vector<std::byte> file(size);
  if (size > 0) std::memcpy(file.data(), data, size);
  read_all(file);
  if (size < 24) return 0;
  // Most mutations break the start; with one that fits, what follows is searched.
  const char start[] = {'G', 'G', 'U', 'F', 3, 0, 0, 0};
  std::memcpy(file.data(), start, sizeof start);
  for (std::size_t i = 9; i < 24; ++i) {
    if (i != 16) file[i] = std::byte{0};
  }
  read_all(file);
  return 0;
}
