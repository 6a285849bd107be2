#pragma once

#include <cstdint>
#include <random>

#include "doctor/baseline.h"
#include "models/weights.h"

/// Harm done to one head on purpose: trials of the search for broken heads.
namespace headscope::doctor {

/// Where heads share keys and values, those stay, and the head's queries alone are damaged.
enum class Damage : std::uint8_t {
  kNoise,  ///< its weights are noise of the same scale
  kFrozen,  ///< it says the same everywhere: its values are 0 (or what it writes, where values are shared)
  kSwapped,  ///< its maps of queries and keys are swapped (shared: it asks with its group's map of keys)
  kExchanged,  ///< queries, keys and values are those of another head of the layer, and the other way round
  kScaled,  ///< what it writes is times 3
  kNan,     ///< its queries are NaN
};

/// Changes the weights of a file before a model is made of them (LoadOptions::change); biases stay.
/// `blueprint` is that of the healthy model, `other` the head that kExchanged means.
/// Errors: kUnsupported unless matrices are [out,in] and queries, keys and values lie apart or one behind the other.
void harm(models::Tensors& tensors,
          const models::Blueprint& blueprint,
          HeadId head,
          Damage damage,
          int other,
          std::mt19937_64& random);

}  // namespace headscope::doctor
