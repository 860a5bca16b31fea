# Read after a recipe that is a makefile.

# The recipe's own targets run one after another, as they were written to; what they start may use every job.
.NOTPARALLEL:

# Asked for `mk-ask`, says what the recipe sets the variables in MK_ASK to: make's own word on it.
ifeq ($(MAKECMDGOALS),mk-ask)
.PHONY: mk-ask
mk-ask:
$(foreach name,$(MK_ASK),$(if $(filter-out undefined default,$(origin $(name))),$(info mk-variable $(name) $(strip $($(name))))))
$(foreach file,$(MAKEFILE_LIST),$(info mk-source $(file)))
$(info mk-end)
endif
