#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "headscope/tensor.h"

/// The head of a safetensors file: 8 bytes of length (little-endian), that many bytes of JSON, and
/// then nothing but the tensors' numbers.
namespace headscope::safetensors {

inline constexpr std::size_t kLengthBytes = 8;
inline constexpr std::size_t kMaxHeader = 100'000'000;  ///< as the published reader
inline constexpr std::size_t kMaxRank = 64;
// Far above any published model, low enough that a header made of nothing but short names stays
// within a few times its own length in memory.
inline constexpr std::size_t kMaxTensors = 1'000'000;
inline constexpr std::size_t kMaxMetadata = 100'000;
inline constexpr std::string_view kMetadataKey = "__metadata__";

/// Where a tensor lies, in bytes from the start of the numbers.
struct Entry {
  DType dtype = DType::kF32;
  Shape shape;
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct Header {
  std::map<std::string, Entry, std::less<>> entries;
  std::map<std::string, std::string, std::less<>> metadata;
  std::size_t data = 0;  ///< where in the file the numbers start
};

/// Reads and checks the head of a whole file: when it returns, every entry lies inside the file,
/// has exactly the bytes its shape needs, none overlap and nothing lies between them. Cost memory
/// of a few times the header's length, which is checked against the file first. Errors  kFormat,
/// kUnsupported (a dtype that exists but is not known here), kResources (more
///         tensors or metadata than any model has).
Header read_header(std::span<const std::byte> file, std::string_view name);

/// "F32", "BF16", ... as files spell it.
std::string_view spelling(DType dtype);

}  // namespace headscope::safetensors
