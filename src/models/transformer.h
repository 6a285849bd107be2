#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/convolution.h"
#include "models/layer.h"
#include "models/network.h"
#include "models/weights.h"

namespace headscope::models {

/// What a decoder's rows see of an encoder. No data: what `remember` put into the memories of the caches.
struct Memory {
  View<const float, 3> rows;         ///< [B,Tk,C]
  View<const std::uint8_t, 2> mask;  ///< [B,Tk], 0 hides a row; no data: all count
};

/// What else a stack is given that is part of something larger.
struct Surroundings {
  const Memory* memory = nullptr;  ///< for cross attention
  const Tensor* start = nullptr;   ///< [B,T,C] instead of word embeddings
};

/// The one transformer: embeddings, layers of attention and MLP with residuals and norms, heads on
/// top. Which variant of each is a fact of the blueprint.
class Transformer final : public Network {
 public:
  /// Packs the weights; word embeddings stay in the mapped file.
  /// Errors: kNotFound, kShape, kDType, each naming the tensor.
  Transformer(Blueprint blueprint, Tensors tensors, const std::string& architecture);
  /// One of several stacks in a file.
  Transformer(Blueprint blueprint,
              std::shared_ptr<Weights> weights,
              const std::string& architecture);

  [[nodiscard]] const Blueprint& blueprint() const override { return blueprint_; }
  /// Self attention of every layer, then cross attention of every layer that has it.
  [[nodiscard]] std::size_t layers() const override { return layers_.size() * (cross() ? 2 : 1); }
  [[nodiscard]] const AttentionFacts& facts(std::size_t layer) const override;
  [[nodiscard]] const AttentionWeights& attention(std::size_t layer) const override;
  [[nodiscard]] std::int64_t parameters() const override { return weights_->parameters(); }
  [[nodiscard]] Tensor output_weight(std::size_t layer) const override;
  [[nodiscard]] Tensor output_bias(std::size_t layer) const override;
  [[nodiscard]] KvCache cache(DType dtype, std::int64_t positions) const override;
  [[nodiscard]] Tensor readout(std::int32_t right, std::int32_t wrong) const override;
  [[nodiscard]] bool resumes() const override { return !cross(); }
  [[nodiscard]] Run run(const Tokens& tokens, const RunOptions& options) const override {
    return run(tokens, options, {});
  }
  [[nodiscard]] Run run(const Tokens& tokens,
                        const RunOptions& options,
                        const Surroundings& around) const;
  /// Keys and values of an encoder's rows for cross attention, into the memory of each cache.
  void remember(const Memory& memory, std::span<KvCache* const> caches) const;
  [[nodiscard]] bool generates() const override;
  [[nodiscard]] bool packs() const override;

 private:
  struct Head {
    HeadBlueprint names;
    std::optional<Linear> dense;
    std::optional<Norm> norm;
    std::optional<Linear> out;
  };
  class Pass;  // one run: transformer.cpp

  [[nodiscard]] bool cross() const { return blueprint_.layers.front().cross.has_value(); }
  void read_embeddings();
  void read_top(const std::string& architecture);
  void check(const Tokens& tokens, const RunOptions& options) const;
  void check_packed(const Tokens& tokens, const RunOptions& options) const;
  void check_caches(const Tokens& tokens, const RunOptions& options) const;
  void check_resume(const Tokens& tokens, const RunOptions& options) const;
  [[nodiscard]] Tensor embed(const Tokens& tokens,
                             View<const std::int64_t, 2> positions,
                             const Tensor* start) const;
  void convolve(const Tensor& embedded, const Tokens& tokens, Tensor& x) const;
  void finish(Run& run) const;
  void run_top(Run& run, const Tokens& tokens, const RunOptions& options) const;
  [[nodiscard]] Tensor positions_of(const Tokens& tokens, const RunOptions& options) const;

  Blueprint blueprint_;
  std::shared_ptr<Weights> weights_;
  AnyView words_, positions_, types_;
  Norm embedding_norm_, final_norm_;
  std::optional<Linear> embedding_projection_, final_projection_;
  std::vector<std::shared_ptr<const Layer>> layers_;
  std::optional<Convolution> convolution_;
  Norm convolution_norm_;
  std::optional<Linear> pooler_;
  std::optional<Head> head_;
};

}  // namespace headscope::models
