#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "formats/json.h"
#include "headscope/tensor.h"

/// A GGUF file: magic, version, counts of tensors and keys; the keys with their values; what the
/// tensors are called and where they lie; then, aligned, their numbers.
namespace headscope::gguf {

inline constexpr std::string_view kMagic = "GGUF";
inline constexpr std::uint32_t kVersion = 3;
inline constexpr std::uint64_t kDefaultAlignment = 32;
/// The published minimum; below it numbers of 8 bytes could not be read where they lie.
inline constexpr std::uint64_t kLeastAlignment = 8;
inline constexpr std::uint64_t kMostAlignment = std::uint64_t{1} << 20;
inline constexpr std::string_view kAlignmentKey = "general.alignment";
inline constexpr std::size_t kMaxRank = 4;
inline constexpr int kMaxDepth = 4;  ///< arrays in arrays
// Far above any published model, low enough that a file of nothing but empty texts stays harmless.
inline constexpr std::size_t kMaxTensors = 1'000'000;
inline constexpr std::size_t kMaxKeys = 100'000;
inline constexpr std::size_t kMaxValues = std::size_t{1} << 23;  ///< elements of all arrays
inline constexpr std::size_t kMaxName = 4096;

enum class Type : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kText,
  kArray,
  kU64,
  kI64,
  kF64,
  kCount
};

/// The published number of a dtype; none for a dtype GGUF does not have.
std::optional<std::uint32_t> number_of(DType dtype);
/// The dtype of a published number. Errors: kUnsupported for one that was withdrawn or is used
/// only between computations, kFormat for a number that never was.
DType dtype_of(std::uint32_t number, std::string_view where);

/// `x` rounded up to a multiple of a power of two. The caller knows that it fits.
inline std::uint64_t aligned(std::uint64_t x, std::uint64_t alignment) {
  return (x + alignment - 1) & ~(alignment - 1);
}

/// `general.alignment` or the default. Errors: kFormat unless it is a power of two in its limits.
std::uint64_t alignment_of(const json::Value& metadata, std::string_view where);

/// A tensor as the head of a file describes it; the view has no data yet.
struct Entry {
  AnyView view;
  std::uint64_t offset = 0;  ///< from the start of the numbers
  std::uint64_t bytes = 0;
};
using Entries = std::map<std::string, Entry, std::less<>>;

struct Header {
  json::Value metadata;
  Entries entries;
  std::size_t data = 0;  ///< where in the file the numbers start
};

/// Reads and checks the head of a whole file: when it returns, every entry lies inside the file and
/// none overlap. Errors: kFormat, kUnsupported, kResources.
Header read_header(std::span<const std::byte> file, std::string_view name);

}  // namespace headscope::gguf
