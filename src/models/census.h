#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/tensor.h"
#include "models/blueprint.h"
#include "models/weights.h"

/// The tensors of a model that config.json describes, before there is a file: how many parameters there will be, and
/// weights drawn by chance that run as any others do.
namespace headscope::models {

/// One tensor of the file, under its blueprint's name (without the family's prefix).
struct WantedTensor {
  enum class Kind : std::uint8_t { kMatrix, kTable, kNorm, kBias, kOther };
  std::string name;
  Shape shape;
  Kind kind = Kind::kMatrix;

  [[nodiscard]] std::int64_t size() const;
};

struct Census {
  std::vector<WantedTensor> tensors;  ///< tied weights are there once
  /// Multiplications of a token with weights: layers that share theirs count each, of experts the chosen ones.
  double products = 0.0;

  [[nodiscard]] std::int64_t parameters() const;
  /// When matrices and tables are kept in `dtype` and the rest in f32. Rows that fill no block of a quantised dtype
  /// stay f16, as where files are converted.
  [[nodiscard]] std::uint64_t bytes(DType dtype) const;
};

/// The head of the class `architecture` ("": the first, where the family has words on top); nullptr: none.
const HeadBlueprint* head_of(const Blueprint& blueprint, std::string_view architecture);

/// What the class `architecture` of a family wants ("": its first head, where the family has words on top).
/// Errors: kFormat for sizes beyond 2^62 numbers.
Census census(const Blueprint& blueprint,
              const json::Value& config,
              const std::string& architecture);

/// Whether a family's file has a bias beside a map or norm of a blueprint: what config.json says, else the habit of
/// the family. `name` is that of the weight without ".weight".
bool biased(const json::Value& config, std::string_view name);

/// The dtype that a tensor takes when a model is kept in `dtype`, one that quants::can_quantise knows with blocks of 32.
DType kept_as(const WantedTensor& tensor, DType dtype);

/// Weights drawn by chance (normal, a fan-in's width), for timing: a block of numbers repeats.
/// Cost  as many bytes as Census::bytes. Errors: kDType for what no tensor can be written as; kResources.
Tensors drawn(const Census& census, DType dtype, Linear::Layout layout);

}  // namespace headscope::models
