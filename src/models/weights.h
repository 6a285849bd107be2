#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "headscope/linear.h"
#include "headscope/safetensors.h"
#include "models/blueprint.h"

namespace headscope::models {

/// The tensors of a file of any format, by name, and what keeps them mapped.
struct Tensors {
  std::string file;  ///< what errors call it
  std::map<std::string, AnyView, std::less<>> by_name;
  std::shared_ptr<const void> owner;
  Linear::Compute compute = Linear::Compute::kExact;  ///< of weights that stay as the file has them
  /// What the file itself calls a tensor, where `by_name` has other names; "" : the same, or not known.
  std::function<std::string(std::string_view name)> own_name{};

  /// A name for people: the file's own, and ours behind it.
  [[nodiscard]] std::string shown(const std::string& name) const;
  static Tensors of(Safetensors file);
};

/// Scale and shift of a norm, in f32, and how it is taken.
struct Norm {
  HeadNorm::Kind kind = HeadNorm::Kind::kNone;
  float eps = 0.0F;
  Tensor weight;  ///< empty(): 1
  Tensor bias;    ///< empty(): 0
};

/// A family's tensors by the names of its blueprint: with or without the family's prefix, with old
/// spellings of norms, shapes and dtypes checked. Tensors that nobody asks for are ignored. Views that it
/// hands out live as long as it does.
class Weights {
 public:
  Weights(Tensors tensors, std::vector<std::string> prefixes, Linear::Layout layout)
      : tensors_(std::move(tensors)), prefixes_(std::move(prefixes)), layout_(layout) {}
  Weights(const Weights&) = delete;
  Weights& operator=(const Weights&) = delete;

  [[nodiscard]] const Tensors& tensors() const { return tensors_; }
  /// Numbers in all tensors that hold numbers of a network.
  [[nodiscard]] std::int64_t parameters() const;
  /// nullptr when the file has no such tensor under any prefix.
  [[nodiscard]] const AnyView* find(const std::string& name) const;
  /// Errors: kNotFound, naming what comes nearest; kDType unless f32, f16, bf16 or quantised.
  [[nodiscard]] const AnyView& at(const std::string& name) const;
  /// Errors: also kShape naming tensor, expected and found.
  [[nodiscard]] const AnyView& at(const std::string& name, const Shape& shape) const;
  /// `name`.weight [out,in] (as the family lays matrices) and, where there is one, `name`.bias [out].
  [[nodiscard]] Linear linear(const std::string& name, std::int64_t in, std::int64_t out) const;
  /// The same with output n of the map being row order[n] of the file. Copies, in the file's dtype.
  [[nodiscard]] Linear linear(const std::string& name,
                              std::int64_t in,
                              std::int64_t out,
                              std::span<const std::int64_t> order);
  [[nodiscard]] AnyView bias(const std::string& name, std::int64_t out) const;
  [[nodiscard]] Norm norm(const std::string& name,
                          std::int64_t width,
                          const NormFacts& facts) const;
  /// Numbers in f32, in one of these counts, whatever the shape.
  [[nodiscard]] Tensor numbers(const std::string& name, std::span<const std::int64_t> counts) const;
  /// A map of a matrix at hand: one in f32 is packed, any other stays where it lies and is read there.
  [[nodiscard]] Linear linear(const AnyView& weight,
                              const AnyView& bias,
                              Linear::Layout layout = Linear::Layout::kOutIn) const;
  /// Keeps a tensor made on the way for as long as the others.
  AnyView keep(Tensor tensor);

 private:
  [[nodiscard]] std::string shown(const std::string& name) const;

  Tensors tensors_;
  std::vector<std::string> prefixes_;
  Linear::Layout layout_;
  std::deque<Tensor> made_;
};

/// A row of a table of any dtype, times `factor`, added to `to`.
void add_row(const AnyView& table, std::int64_t row, float factor, std::span<float> to);

}  // namespace headscope::models
