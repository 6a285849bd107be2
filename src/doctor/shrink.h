#pragma once

#include <map>
#include <set>

#include "doctor/folder.h"
#include "formats/json.h"
#include "headscope/model.h"

/// Heads that leave the file, and not only the output: fewer rows of queries, keys and values, fewer columns of `output`.
namespace headscope::doctor {

/// Numbers of the heads that leave each layer; every layer keeps one.
using Leaving = std::map<int, std::set<std::int64_t>>;

/// Why heads of this model cannot leave its file one by one; "" : they can.
std::string bound(const Model& model);

/// Takes heads out of the tensors of `views`, as they lie in the model's file.
class Shrinker {
 public:
  Shrinker(const models::Blueprint& b, Views& views) : b_(b), views_(views) {}
  /// Cost  a copy of the matrices of attention of those layers. Errors: kFormat (a tensor that is not there).
  void remove(const Leaving& leaving);

 private:
  void cut(const std::string& name, bool output, std::span<const std::int64_t> kept);
  void keep(const std::string& stored, std::size_t axis, std::span<const std::int64_t> kept);

  const models::Blueprint& b_;
  Views& views_;
  std::map<std::string, Tensor> made_;
};

/// Writes into config.json which heads left: `pruned_heads`, by the numbers that they had when all were there.
/// `taught_heads` gets the numbers that those heads have now.
void name_leaving(const Leaving& leaving, json::Value& config);

}  // namespace headscope::doctor
