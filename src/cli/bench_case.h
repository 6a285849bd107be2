#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/attention.h"

/// Calls of step 3 to be measured; bench/ and `headscope bench` share them.
namespace headscope::cli {

/// One call of focus.
struct FocusShape {
  DType dtype = DType::kF32;  ///< f32 or bf16
  std::int64_t heads = 4;
  std::int64_t groups = 4;
  std::int64_t rows = 2048;
  std::int64_t keys = 2048;
  std::int64_t width = 64;
  /// plain, causal, window (causal, 256 keys a row), softcap (30), alibi, bias (one number a score),
  /// padding (the last eighth of the keys is hidden)
  std::string_view options = "plain";
  /// none, stats, maps (stats, top-8, column mass, 64 x 64 map), everything (q and k kept as well)
  std::string_view sight = "none";

  [[nodiscard]] std::string name() const;  ///< "bf16 32/8x2048x64 causal maps"
};

/// The words that FocusShape knows.
inline constexpr std::string_view kFocusOptions[] = {
    "plain", "causal", "window", "softcap", "alibi", "bias", "padding"};
inline constexpr std::string_view kSights[] = {"none", "stats", "maps", "everything"};

/// Numbers that look like a standard normal; the same ones for the same seed on any machine.
Tensor noise(DType dtype, Shape shape, std::uint64_t seed);

/// The numbers that one call reads and writes.
class FocusCase {
 public:
  /// Errors: kUsage for a word that is not in the lists above.
  explicit FocusCase(const FocusShape& shape);
  void run();
  /// flop of the scores that count: masked ones are nobody's work.
  [[nodiscard]] double flop() const;
  /// Bytes of K and V.
  [[nodiscard]] double cache_bytes() const;
  /// What the last run recorded.
  [[nodiscard]] FocusRecord& record() { return record_; }

 private:
  template <typename T>
  void run_as();

  FocusShape shape_;
  Tensor q_, k_, v_, out_, mask_, bias_, slopes_;
  FocusOptions options_;
  Sight sight_;
  FocusRecord record_;
};

}  // namespace headscope::cli
