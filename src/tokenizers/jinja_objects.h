#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "tokenizers/jinja_run.h"

/// What has a state in a template.
namespace headscope::jinja {

/// namespace(): attributes that {% set ns.x = ... %} changes.
class Namespace : public Object {
 public:
  [[nodiscard]] std::string_view type() const override { return "namespace"; }
  std::optional<Value> get(std::string_view name) override;
  bool set(std::string_view name, Value value) override;
  void release() override { values_.variables.clear(); }

 private:
  Scope values_;
};

/// {% macro %}, and the caller() of {% call %}.
class Macro : public Object {
 public:
  Macro(const Stmt& stmt, std::string name, std::shared_ptr<Scope> scope)
      : stmt_(stmt), name_(std::move(name)), scope_(std::move(scope)) {}
  [[nodiscard]] std::string_view type() const override { return "macro"; }
  std::optional<Value> get(std::string_view name) override;
  [[nodiscard]] bool callable() const override { return true; }
  Value call(Run& run, const Arguments& arguments) override;
  void release() override;

 private:
  const Stmt& stmt_;
  std::string name_;
  std::shared_ptr<Scope> scope_;  ///< where it was defined
};

/// The variable `loop`.
class Loop : public Object {
 public:
  Loop(const Stmt& stmt, List items, std::shared_ptr<Scope> scope, int depth)
      : stmt_(stmt), items_(std::move(items)), scope_(std::move(scope)), depth_(depth) {}
  [[nodiscard]] std::string_view type() const override { return "loop"; }
  std::optional<Value> get(std::string_view name) override;
  [[nodiscard]] bool callable() const override { return true; }
  /// loop(items), in a recursive loop.
  Value call(Run& run, const Arguments& arguments) override;
  void release() override;

  [[nodiscard]] bool more() const { return at_ < items_.size(); }
  [[nodiscard]] const Value& item() const { return items_[at_]; }
  void advance() { ++at_; }
  Value cycle(const Arguments& arguments) const;
  Value changed(Run& run, const Arguments& arguments);

 private:
  const Stmt& stmt_;
  List items_;
  std::shared_ptr<Scope> scope_;
  int depth_;
  std::size_t at_ = 0;
  std::optional<List> seen_;  ///< what changed() was asked last
};

/// A function of the template's language, or a method together with whose it is.
class Function : public Object {
 public:
  using Body = Value (*)(Run&, const Value& self, const Arguments&);
  Function(std::string_view name, Body body, Value self = {})
      : name_(name), body_(body), self_(std::move(self)) {}
  [[nodiscard]] std::string_view type() const override { return "function"; }
  [[nodiscard]] bool callable() const override { return true; }
  Value call(Run& run, const Arguments& arguments) override;
  void release() override { self_ = {}; }
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  std::string name_;
  Body body_;  ///< null: a method, by its name
  Value self_;
};

}  // namespace headscope::jinja
