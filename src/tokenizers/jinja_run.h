#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizers/jinja_syntax.h"
#include "tokenizers/jinja_value.h"

namespace headscope::jinja {

/// Variables of one block; what it lacks is looked for in the blocks around it.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string, Value>> variables;

  void set(std::string_view name, Value value);
  [[nodiscard]] const Value* find(std::string_view name) const;
};

/// One rendering: the walk over the tree, and what filters and functions need of it.
class Run {
 public:
  Run(const Limits& limits, const std::tm& now) : budget_(limits), most_(limits.depth), now_(now) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run();

  std::string render(const Body& body, const Dict& variables);

  Budget& budget() { return budget_; }
  [[nodiscard]] const std::tm& now() const { return now_; }
  [[nodiscard]] int line() const { return line_; }
  /// A text or list that is new: it counts.
  Value text(std::string text);
  Value list(List items, bool tuple = false);
  /// The printed form, as a filter takes it.
  std::string str(const Value& value) { return jinja::str(value, budget_); }

  Value call(const Value& callee, const Arguments& arguments);
  Value filter(std::string_view name, const Value& value, const Arguments& arguments);
  bool test(std::string_view name, const Value& value, const Arguments& arguments);
  Value item(const Value& of, const Value& key);
  Value attribute(const Value& of, std::string_view name);

  /// An object that lives as long as the rendering.
  Value keep(std::shared_ptr<Object> object);
  /// What `print` prints, as a text.
  std::string capture(const std::function<void()>& print);
  /// Statements, in a scope; how they were left.
  enum class Flow { kNext, kBreak, kContinue };
  Flow run(const Body& body, const std::shared_ptr<Scope>& scope);
  /// A loop's body for every item; `depth` counts its own recursion.
  void loop(const Stmt& stmt, const Value& over, const std::shared_ptr<Scope>& scope, int depth);
  Value eval(const Expr& expr, const std::shared_ptr<Scope>& scope);

  /// Counts nested calls while it lives. Failures: kResources.
  class Level {
   public:
    explicit Level(Run& run);
    ~Level() { --run_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Run& run_;
  };

 private:
  using ScopePtr = std::shared_ptr<Scope>;

  Flow run(const Stmt& stmt, const ScopePtr& scope);
  void assign(const Expr& target, const Value& value, const ScopePtr& scope);
  void call_block(const Stmt& stmt, const ScopePtr& scope);
  void print(std::string_view text);
  Value name(const Expr& expr, const ScopePtr& scope);
  Value call(const Expr& expr, const ScopePtr& scope);
  Value compare(const Expr& expr, const ScopePtr& scope);
  Value unary(const Expr& expr, const ScopePtr& scope);
  Value slice(const Expr& expr, const ScopePtr& scope);
  Value dict(const Expr& expr, const ScopePtr& scope);
  Arguments arguments(const Expr& expr, const ScopePtr& scope);

  Budget budget_;
  int depth_ = 0;
  int most_;
  int line_ = 1;
  std::tm now_;
  std::string* out_ = nullptr;
  std::vector<std::shared_ptr<Object>> kept_;
};

/// Arguments under the names of a function's parameters.
class Bound {
 public:
  /// `parameters`: names with spaces between. Failures: kInput, naming what was called.
  Bound(std::string_view called, std::string_view parameters, const Arguments& arguments);
  /// Given, and not none.
  [[nodiscard]] bool has(std::size_t i) const;
  [[nodiscard]] bool given(std::size_t i) const { return values_[i] != nullptr; }
  /// Failures: kInput when it was left out.
  [[nodiscard]] const Value& operator[](std::size_t i) const;
  [[nodiscard]] std::int64_t integer(std::size_t i, std::optional<std::int64_t> fallback) const;
  [[nodiscard]] const std::string& text(std::size_t i) const;
  [[nodiscard]] bool truth(std::size_t i, bool fallback) const;

 private:
  std::string_view called_;
  std::vector<const Value*> values_;
};

/// The operators of two values. Failures: kInput.
Value binary(Run& run, std::string_view symbol, const Value& a, const Value& b);
/// `format % values`. Failures: kInput, kUnsupported.
Value percent(Run& run, const std::string& format, const List& values);
/// A method of a text, list or dict by its name; nothing when it has no such method.
std::optional<Value> call_method(Run& run,
                                 const Value& self,
                                 std::string_view name,
                                 const Arguments& arguments);
bool has_method(const Value& self, std::string_view name);
/// range, namespace, dict, raise_exception, strftime_now.
std::shared_ptr<Scope> functions(Run& run);

}  // namespace headscope::jinja
