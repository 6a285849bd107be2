#pragma once

#include <memory>
#include <string>

#include "train/layers.h"

namespace headscope::train {

/// A network under training, whatever it reads.
class Network {
 public:
  Network() = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;
  virtual ~Network() = default;

  [[nodiscard]] virtual const models::Blueprint& blueprint() const = 0;
  [[nodiscard]] virtual std::int64_t positions() const = 0;
  [[nodiscard]] virtual std::int64_t classes() const = 0;
  /// Everything but Tape::begin and Tape::backward. Errors: those of Trainee::step, before anything is computed.
  virtual Loss loss(Tape& tape, const Batch& batch) = 0;
  virtual Tensor logits(Tape& tape, const Batch& batch) = 0;
};

/// Families that read tokens. Errors: kFormat, kUnsupported; kShape, kDType of the file's tensors.
/// dry  as in Maker::Start: such a network knows its sizes and nothing else.
std::unique_ptr<Network> text_network(const json::Value& config,
                                      const models::Weights* file,
                                      std::uint64_t seed,
                                      models::Blueprint blueprint,
                                      std::vector<Parameter>& parameters,
                                      bool dry = false);
/// Families that read pictures.
std::unique_ptr<Network> vision_network(const json::Value& config,
                                        const models::Weights* file,
                                        std::uint64_t seed,
                                        std::vector<Parameter>& parameters,
                                        bool dry = false);

/// The longest sequence in rows of a network that is drawn for this config.json. Makes no weights.
/// Errors: all that Trainee::fresh would say of the config.
std::int64_t longest_of(const json::Value& config);

/// How many classes config.json speaks of: num_labels, else its id2label, else 2.
std::int64_t labels_word(const json::Value& config);
/// A label tensor of i32 [n] from 0 to classes - 1, or -100 where `ignored` says so. Errors: kShape, kDType, kRange.
std::span<const std::int32_t> labels_of(const Batch& batch,
                                        std::int64_t n,
                                        std::int64_t classes,
                                        bool ignored);
/// Result of a map for all rows of x. Shapes  [N,K] -> a tensor [N,out].
Tensor mapped(Tape& tape, Var x, const Map& out, float scale);

inline constexpr std::int32_t kIgnored = -100;

}  // namespace headscope::train
