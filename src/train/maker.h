#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/json.h"
#include "models/weights.h"
#include "train/tape.h"

namespace headscope::train {

/// What a family reads.
enum class Reads : std::uint8_t { kTokens, kPictures, kVideos };
/// Values of model_type for which weights can be drawn.
std::span<const std::string_view> drawn_families(Reads what);

/// Makes the parameters of a network under the names that Transformers give them: from a file, or drawn.
class Maker {
 public:
  struct Start {
    const json::Value* config = nullptr;
    const models::Weights* file = nullptr;  ///< nullptr: everything is drawn
    std::uint64_t seed = 0;
    std::string prefix{};  ///< of all but heads on top
    std::int64_t layers = 1;
    Linear::Layout matrices = Linear::Layout::kOutIn;
    std::vector<std::pair<std::string, std::string>> renamed{};  ///< endings: in files, in facts
    bool dry = false;  ///< parameters get names and no numbers: for finding out what does not fit
  };
  /// How numbers are drawn.
  enum class Draw : std::uint8_t {
    kNormal,    ///< of the width that config.json calls initializer_range
    kResidual,  ///< that over sqrt(2 layers): what joins the residual stream (Radford 2019 s2.3)
    kZero,
    kOne,
  };
  /// `parameters` must not grow otherwise while anything made here is used.
  Maker(Start start, std::vector<Parameter>& parameters);

  /// Whole name but for the prefix. Errors: kShape, kDType of the file's.
  Parameter* tensor(const std::string& name, Shape shape, Draw draw, bool decays, bool top = false);
  Parameter* table(const std::string& name, std::int64_t rows, std::int64_t width) {
    return tensor(name + ".weight", {rows, width}, Draw::kNormal, true);
  }
  /// With a bias where the file, else config.json, has one.
  Map map(const std::string& name, std::int64_t in, std::int64_t out, Draw draw = Draw::kNormal);
  /// The same on top of the network: without prefix, [out,in].
  Map top(const std::string& name, std::int64_t in, std::int64_t out);
  NormPart norm(const std::string& name,
                std::int64_t width,
                const models::NormFacts& facts,
                bool top = false);
  /// Whether there will be a bias.
  [[nodiscard]] bool biased(const std::string& name) const;
  [[nodiscard]] const AnyView* find(const std::string& name) const;
  [[nodiscard]] bool dry() const { return start_.dry; }

 private:
  [[nodiscard]] std::string in_file(const std::string& name) const;
  Parameter* put(Parameter p);
  [[nodiscard]] Tensor drawn(const std::string& name, const Shape& shape, Draw draw) const;

  Start start_;
  double range_ = 0.02;
  std::vector<Parameter>& parameters_;
};

}  // namespace headscope::train
