#pragma once

#include <string_view>
#include <vector>

#include "doctor/baseline.h"

/// Which head is broken: beside a healthy model, or by itself.
namespace headscope::doctor {

enum class Reason : std::uint8_t {
  kNotFinite,  ///< numbers that are NaN or infinite
  kSilent,     ///< findings or their output weights are 0
  kConstant,   ///< findings are the same in every row
  kLooks,      ///< with a reference: its attention goes elsewhere
  kSays,       ///< with a reference: it attends alike and finds something else
  kWrites,     ///< with a reference: it finds the same and writes something else into the stream
  kCollapsed,  ///< every row gives all of its weight to one key that is no sink
  kLoud,       ///< norms far above those of its layer
  kQuiet,      ///< norms far below those of its layer
  kFlat,       ///< weights without the structure of their layer: like noise
};
/// "not_finite", "silent", ...: in JSON.
std::string_view name(Reason reason);

struct Suspect {
  HeadId head;
  double score =
      0.0;  ///< with a reference: the share of the damage it explains; without: how far it stands out
  double differs =
      0.0;  ///< with a reference: |what it writes - healthy| / |healthy| on healthy input; infinite: NaN
  Reason reason = Reason::kLooks;
};

struct Checkup {
  /// |last hidden state - healthy| / |healthy| over all rows; infinite: NaN. Without a reference 0.
  double damage = 0.0;
  std::vector<Suspect> suspects;  ///< most suspicious first
};

/// Heads differ from the reference from here on: far above rounding, far below any harm.
inline constexpr double kDiffers = 1e-4;

/// Every head of `model` against the same head of `healthy`, both fed with the healthy stream; those that differ most
/// (at most `most_healed`) are healed one by one in the broken run, and the damage to the last hidden state is looked at
/// again. A layer whose heads all differ (other precision, fine-tuning) is ranked the same way.
/// Cost  three runs of each text, and half a run a healed head. Errors: kShape naming what does not fit.
Checkup check(const Model& model,
              const Model& healthy,
              std::span<const Tokens> texts,
              const Told& told = {},
              std::size_t most_healed = 8);

/// Without a reference a head stands out from here on; see docs/doctor.md for false alarms on healthy models.
inline constexpr double kStandsOut = 8.0;

/// What stands out among the heads of its own layer: norms of q, k, z and of its columns of `output` (deviation of
/// their logarithm from the layer's median, in units of the model's own median deviation); how flat the spectra of q
/// and of those columns are, likewise; and what is plainly broken. Sorted by score, all heads.
Checkup check(const Model& model, std::span<const Tokens> texts, const Told& told = {});

}  // namespace headscope::doctor
