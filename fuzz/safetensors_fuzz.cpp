// Whatever the bytes, a safetensors file is refused with an Error or its tensors can be read whole.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "headscope/safetensors.h"
#include "law.h"

namespace {

using headscope::AnyView;
using headscope::Error;
using headscope::Safetensors;

void read_all(std::span<const std::byte> file) {
  Safetensors tensors;
  try {
    tensors = Safetensors::parse(file, "fuzz");
  } catch (const Error& error) {
    law(std::string(error.what()).find('\n') == std::string::npos, "an Error is one line");
    return;
  }
  std::size_t total = 0;
  unsigned sum = 0;
  for (const auto& [name, view] : tensors.tensors()) {
    law(tensors.find(name) == &view, "a tensor is found by its name");
    law(reinterpret_cast<std::uintptr_t>(view.data) % size_of(view.dtype) == 0, "data is aligned");
    for (std::size_t i = 0; i < view.bytes(); ++i) sum += std::to_integer<unsigned>(view.data[i]);
    total += view.bytes();
  }
  volatile unsigned sink = sum;  // the reads are the point
  (void)sink;
  law(total <= file.size(), "tensors are no larger than their file");
  try {
    (void)tensors.at("no such name, surely");
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  read_all(file);
  if (size < 8) return 0;
  // Most mutations break the length; with a length that fits, the header itself is searched.
  std::uint64_t length = 0;
  for (std::size_t i = 8; i-- > 0;) length = length << 8 | data[i];
  if (length <= size - 8) return 0;
  length %= size - 7;
  std::vector<std::byte> repaired(file.begin(), file.end());
  for (std::size_t i = 0; i < 8; ++i) repaired[i] = static_cast<std::byte>(length >> (8 * i));
  read_all(repaired);
  return 0;
}
