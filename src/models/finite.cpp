#include "models/finite.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "formats/json.h"
#include "headscope/threads.h"

namespace headscope::models {

namespace {

/// Whether any of `n` words has all bits of the exponent set: written so that compilers make vectors
/// of it.
template <typename Word>
bool any_odd(const std::byte* data, std::size_t n, Word exponent) {
  constexpr std::size_t kAtOnce = 4096 / sizeof(Word);
  Word words[kAtOnce];
  for (std::size_t done = 0; done < n; done += kAtOnce) {
    const std::size_t some = std::min(kAtOnce, n - done);
    std::memcpy(words, data + done * sizeof(Word), some * sizeof(Word));
    unsigned odd = 0;
    for (std::size_t i = 0; i < some; ++i) odd |= (words[i] & exponent) == exponent ? 1U : 0U;
    if (odd != 0) return true;
  }
  return false;
}

constexpr std::uint16_t kF16Exponent = 0x7C00;

/// Byte offsets of the f16 factors of a block; -1: none.
struct Factors {
  int first = -1, second = -1;
};
Factors factors_of(DType dtype) {
  switch (dtype) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108};
    case DType::kQ6_K:
      return {208};
    case DType::kTQ1_0:
      return {52};
    case DType::kTQ2_0:
      return {64};
    case DType::kIQ1_M:
    case DType::kMXFP4:
    case DType::kNVFP4:
      return {};
    default:
      return {0};
  }
}

bool is_odd_f16(const std::byte* at) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return (bits & kF16Exponent) == kF16Exponent;
}

bool is_odd_block(DType dtype, const std::byte* block) {
  if (dtype == DType::kMXFP4) return std::to_integer<int>(block[0]) == 255;
  if (dtype == DType::kIQ1_M) {  // the factor's top five bits after the sign lie in the last word
    const int top = std::to_integer<int>(block[55]) >> 4;
    const int next = std::to_integer<int>(block[53]) >> 4;
    return (top & 7) == 7 && (next & 12) == 12;
  }
  const auto [first, second] = factors_of(dtype);
  return (first >= 0 && is_odd_f16(block + first)) || (second >= 0 && is_odd_f16(block + second));
}

bool any_odd(const AnyView& part) {
  const std::size_t bytes = part.bytes();
  switch (part.dtype) {
    case DType::kF32:
      return any_odd<std::uint32_t>(part.data, bytes / 4, 0x7F800000U);
    case DType::kF16:
      return any_odd<std::uint16_t>(part.data, bytes / 2, kF16Exponent);
    case DType::kBF16:
      return any_odd<std::uint16_t>(part.data, bytes / 2, 0x7F80);
    case DType::kF64:
      return any_odd<std::uint64_t>(part.data, bytes / 8, std::uint64_t{0x7FF} << 52);
    default:
      break;
  }
  if (!is_quantised(part.dtype)) return false;
  const std::size_t step = block_of(part.dtype).bytes;
  for (std::size_t at = 0; at < bytes; at += step) {
    if (is_odd_block(part.dtype, part.data + at)) return true;
  }
  return false;
}

bool is_buffer(const std::string& name, const AnyView& view) {
  return name.ends_with("masked_bias") || name.ends_with("inv_freq") ||
         (name.ends_with("attn.bias") && view.shape.size() == 4) ||
         (name.ends_with("attention.bias") && view.shape.size() == 4);
}

/// A stretch of one tensor, so that threads share large ones.
struct Piece {
  const std::string* name;
  AnyView part;
  std::int64_t first;
};

std::vector<Piece> pieces_of(const Tensors& tensors) {
  constexpr std::int64_t kPiece = std::int64_t{1} << 18;  // numbers; a multiple of every block
  std::vector<Piece> out;
  for (const auto& [name, view] : tensors.by_name) {
    if (is_buffer(name, view)) continue;
    const std::int64_t n = view.size();
    for (std::int64_t first = 0; first < n; first += kPiece) {
      out.push_back(
          {&name,
           {view.dtype, {std::min(kPiece, n - first)}, view.data + bytes_of(view.dtype, first)},
           first});
    }
  }
  return out;
}

[[noreturn]] void refuse(const Tensors& tensors, const Piece& piece) {
  const Tensor wide = Tensor::f32_from(piece.part);
  const auto numbers = wide.span<float>();
  const auto odd =
      std::find_if(numbers.begin(), numbers.end(), [](float x) { return !std::isfinite(x); });
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected finite numbers in {}, found {} at element {}",
                          tensors.file,
                          tensors.shown(*piece.name),
                          odd == numbers.end() || std::isnan(*odd) ? "NaN" : "infinity",
                          piece.first + (odd == numbers.end() ? 0 : odd - numbers.begin())));
}

}  // namespace

void check_finite(const Tensors& tensors) {
  const std::vector<Piece> pieces = pieces_of(tensors);
  std::atomic<std::size_t> worst{pieces.size()};
  parallel_for(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    if (!any_odd(pieces[at].part)) return;
    std::size_t seen = worst.load();
    while (at < seen && !worst.compare_exchange_weak(seen, at)) {
    }
  });
  if (worst < pieces.size()) refuse(tensors, pieces[worst]);
}

}  // namespace headscope::models
