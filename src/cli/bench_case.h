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
  /// The gradients by q, k and v of a run whose forward pass was made by prepare_backward().
  void run_backward();
  void prepare_backward();
  /// flop of the scores that count: masked ones are nobody's work. Backward makes five products of
  /// the two of a run.
  [[nodiscard]] double flop() const;
  [[nodiscard]] double backward_flop() const { return 2.5 * flop(); }
  /// Bytes of K and V.
  [[nodiscard]] double cache_bytes() const;
  /// What the last run recorded.
  [[nodiscard]] FocusRecord& record() { return record_; }

 private:
  template <typename T>
  [[nodiscard]] FocusInputOf<T> input() const;
  template <typename T>
  void run_as();
  template <typename T>
  void run_backward_as();

  FocusShape shape_;
  Tensor q_, k_, v_, out_, lse_, mask_, bias_, slopes_;
  Tensor dout_, dq_, dk_, dv_;  // empty until prepare_backward()
  FocusOptions options_;
  Sight sight_;
  FocusRecord record_;
};

}  // namespace headscope::cli
