#pragma once

#include <cstddef>
#include <span>

namespace headscope::doctor {

/// Keeps parts of something long as they are done, so that it can go on from there another day.
class Kept {
 public:
  Kept() = default;
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;
  virtual ~Kept() = default;
  /// The numbers of a part as they were added, to the bit, until the next one is added; none: it is not done yet.
  /// Errors: kFormat when there are other than `count` of them.
  [[nodiscard]] virtual std::span<const double> find(std::size_t part, std::size_t count) const = 0;
  virtual void add(std::size_t part, std::span<const double> numbers) = 0;
};

}  // namespace headscope::doctor
